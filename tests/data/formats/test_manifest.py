"""Augmented manifests: what is read, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from listings import manifest, read, refused, rows

NAN = np.nan


@pytest.mark.parametrize(
    ("labels", "options", "names", "exclusive", "targets"),
    [
        ([0, 1, 1], {}, ("0", "1"), True, [[1, 0], [0, 1], [0, 1]]),
        (["0", "2"], {"labels": ("A", "B", "C")}, ("A", "B", "C"), True, [[1, 0, 0], [0, 0, 1]]),
        ([[0, 1, 1], [0, 0, 0]], {}, ("0", "1", "2"), False, [[0, 1, 1], [0, 0, 0]]),
        (["[1, 0]", "[1, 1]"], {"labels": ("A", "B")}, ("A", "B"), False, [[1, 0], [1, 1]]),
        ([[0, 2], [], [1]], {}, ("0", "1", "2"), False, [[1, 0, 1], [0, 0, 0], [0, 1, 0]]),
        ([[0, 1], [1, 0]], {"label_format": "multi-hot"}, ("0", "1"), False, [[0, 1], [1, 0]]),
        ([[0, 1], [1, 0]], {"label_format": "class-id"}, ("0", "1"), False, [[1, 1], [1, 1]]),
        ([[0], [3]], {"num_classes": 5}, ("0", "1", "2", "3", "4"), False, [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0]]),
    ],
)
def test_labels_of_a_manifest(tmp_path, labels, options, names, exclusive, targets):
    listing = read(manifest(tmp_path, *rows(*labels)), **options)
    assert (listing.names, listing.exclusive) == (names, exclusive)
    np.testing.assert_array_equal(listing.targets, targets)


def test_ground_truths_own_names(tmp_path):
    one = manifest(
        tmp_path / "one",
        *(
            {"source-ref": f"{f}.png", "job": k, "job-metadata": {"class-name": n}}
            for f, k, n in (("a", 3, "Mass"), ("b", 0, "Clear"))
        ),
    )
    assert read(one).names == ("Clear", "Mass")
    assert read(one).exclusive
    many = manifest(
        tmp_path / "many", *rows([7, 2], [], **{"class-metadata": {"class-map": {"7": "Mass", "2": "Edema"}}})
    )
    listing = read(many)
    assert (listing.names, listing.exclusive) == (("Edema", "Mass"), False)
    np.testing.assert_array_equal(listing.targets, [[1, 1], [0, 0]])


def test_s3_addresses_are_found_by_their_longest_end(tmp_path):
    root = manifest(
        tmp_path,
        {"source-ref": "s3://bucket/set/a/x.png", "y": 0},
        {"source-ref": "s3://bucket/b/x.png", "y": 1},
        {"source-ref": "x.png", "y": 1, "patient": 12},
        names=("a/x.png", "b/x.png", "x.png"),
    )
    assert "choose one by data_format=folder|manifest" in refused(root)
    listing = read(root, "manifest")
    assert listing.ids == ["a/x.png", "b/x.png", "x.png"]
    assert listing.patients == ["a/x.png", "b/x.png", "12"]


def test_attributes_that_the_user_names(tmp_path):
    root = manifest(tmp_path, {"image-ref": "a.png", "y": 0, "z": [0, 1]}, {"image-ref": "b.png", "y": 1, "z": [1, 1]})
    assert read(root, attribute_names=("image-ref", "y")).exclusive
    assert not read(root, attribute_names=("image-ref", "z")).exclusive
    assert (
        "line 1 has no attribute source-ref; it has image-ref, y, z; name image and label by"
        " attribute_names=IMAGE,LABEL" in refused(root)
    )
    assert "attribute_names=y must be two names" in refused(root, attribute_names=("y",))
    assert "line 1 has no attribute image_ref; did you mean image-ref?" in refused(
        root, attribute_names=("image_ref", "y")
    )


@pytest.mark.parametrize(
    ("lines", "message", "options"),
    [
        ([*rows(0), "{'source-ref': 'b.png'}"], "x.manifest line 2 is not JSON: ", {}),
        ([*rows(0), "[1, 2]"], "x.manifest line 2 is not a JSON object with attributes but [1, 2]", {}),
        ([*rows(0), {"source-ref": "b.png"}], "x.manifest line 2 has no attribute class; it has source-ref", {}),
        (
            [{"source-ref": "a.png", "x": 1, "y": 2}],
            "line 1 has 2 attributes that can be a label; it has source-ref, x, y",
            {},
        ),
        ([{"source-ref": "a.png", "x": "text"}], "line 1 has no attributes that can be a label", {}),
        (rows(0, [1]), "line 2: the label [1] is not a class index", {}),
        (rows([1, 1], 0), "line 2: the label 0 is not a list of numbers", {}),
        (rows(0, 7), "line 2: class 7 is out of range; it must be 0 to 1 (num_classes=2)", {"num_classes": 2}),
        (rows([0, 1], [1, 0]), "may be multi-hot or class indices; set label_format=multi-hot or class-id", {}),
        (
            rows([0, 1], [1]),
            "line 2 has 1 labels, those before it 2; for class indices set label_format=class-id",
            {"label_format": "multi-hot"},
        ),
        (rows([0, 9], [1]), "line 1: class 9 is out of range; known are 0 A, 1 B", {"labels": ("A", "B")}),
        (rows(0) + [{"source-ref": "s3://bucket/gone.png", "class": 1}], "line 2: gone.png does not exist", {}),
        (
            rows(0) + [{"source-ref": "s3://bucket/../../gone.png", "class": 1}],
            "line 2: ../../gone.png leads out of the channel",
            {},
        ),
        (rows([0, 1e300], [1]), "line 1: class 1e+300 is out of range; known are 0 0, 1 1", {}),
        (rows(0, float("inf")), "line 2: the label inf is not a class index", {}),
        ([], "x.manifest has no lines", {}),
        (rows(0, **{"class-metadata": {"class-map": {"x": "A"}}}), "'x' in class-metadata is no class index", {}),
    ],
)
def test_bad_manifests(tmp_path, lines, message, options):
    assert message in refused(manifest(tmp_path, *lines), **options)
