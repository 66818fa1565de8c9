"""Manifests as Ground Truth and Rekognition Custom Labels write them, and as people's editors leave them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import images
from listings import channel, manifest, read, refused

NAN = np.nan
S3 = "s3://bucket/set/"


def about(name, human="yes"):
    """The metadata of an image-level label."""
    return {
        "confidence": 1, "job-name": f"labeling-job/{name}", "class-name": name, "human-annotated": human,
        "creation-date": "2020-03-06T17:46:39.176", "type": "groundtruth/image-classification",
    }  # fmt: skip


def failed(name, reason="ClientError: The image file is too large.\nTry another."):
    return {"source-ref": f"{S3}{name}", "job-metadata": {"failure-reason": reason, "human-annotated": "yes"}}


def labelled(name, index, of):
    return {"source-ref": f"{S3}{name}", "job": index, "job-metadata": about(of)}


def test_lines_that_ground_truth_failed_to_label_are_counted(tmp_path):
    listing = read(manifest(tmp_path, failed("a.png"), labelled("b.png", 0, "Clear"), labelled("c.png", 1, "Mass")))
    assert (listing.ids, listing.names) == (["b.png", "c.png"], ("Clear", "Mass"))
    np.testing.assert_array_equal(listing.targets, np.eye(2))
    assert listing.notes[0] == (
        "1 of 3 lines left out, which Ground Truth failed to label, e.g. line 1: ClientError: The image file is too"
        " large. Try another."
    )


def test_where_all_failed_there_is_nothing(tmp_path):
    assert "all of its 2 lines are images that Ground Truth failed to label" in refused(
        manifest(tmp_path, failed("a.png"), failed("b.png"))
    )


def rekognition(name, *labels, human="yes"):
    row = {"source-ref": f"{S3}{name}"}
    for label in labels:
        row |= {f"set_{label}": 1, f"set_{label}-metadata": about(label, human)}
    return row


def test_rekognitions_attribute_per_class(tmp_path):
    listing = read(manifest(tmp_path, rekognition("a.png", "Mass"), rekognition("b.png", "Clear", human="no"),
                            rekognition("c.png")))  # fmt: skip
    assert (listing.names, listing.exclusive) == (("Clear", "Mass"), True)
    np.testing.assert_array_equal(listing.targets, [[0, 1], [1, 0]])
    assert "1 of 3 lines without any label left out, e.g. line 3" in listing.notes
    assert any(note.startswith("1 label given by a machine (human-annotated no)") for note in listing.notes)


def test_rekognitions_several_labels(tmp_path):
    listing = read(
        manifest(
            tmp_path, rekognition("a.png", "Mass", "Edema"), rekognition("b.png", "Edema"), names=("a.png", "b.png")
        )
    )
    assert (listing.names, listing.exclusive) == (("Edema", "Mass"), False)
    np.testing.assert_array_equal(listing.targets, [[1, 1], [1, 0]])


def test_one_attribute_whose_number_never_changes(tmp_path):
    rows = [
        {"source-ref": f"{name}.png", "y": 1, "y-metadata": about(of)} for name, of in zip("abc", "NPN", strict=True)
    ]
    listing = read(manifest(tmp_path, *rows))
    assert listing.names == ("N", "P")
    np.testing.assert_array_equal(listing.targets.argmax(axis=1), [0, 1, 0])


def test_two_questions_in_one_manifest_are_not_one_answer(tmp_path):
    row = {"source-ref": "a.png", "view": 0, "view-metadata": about("PA"), "y": 1, "y-metadata": about("Mass")}
    other = {"source-ref": "b.png", "view": 1, "view-metadata": about("AP"), "y": 0, "y-metadata": about("Clear")}
    assert "line 1 has 2 attributes that can be a label" in refused(manifest(tmp_path, row, other))
    assert read(tmp_path, attribute_names=("source-ref", "y")).names == ("Clear", "Mass")


def boxes(name, *classes):
    return {
        "source-ref": f"{S3}{name}",
        "found": {
            "image_size": [{"width": 48, "height": 40, "depth": 1}],
            "annotations": [{"class_id": k, "left": 1, "top": 2, "width": 3, "height": 4} for k in classes],
        },
        "found-metadata": {
            "objects": [{"confidence": 1}] * len(classes), "class-map": {"0": "Nodule", "1": "Mass"},
            "type": "groundtruth/object-detection", "human-annotated": "yes",
        },
    }  # fmt: skip


def test_boxes_are_labels(tmp_path):
    listing = read(manifest(tmp_path, boxes("a.png", 0, 0, 1), boxes("b.png"), boxes("c.png", 1)))
    assert (listing.names, listing.exclusive) == (("Nodule", "Mass"), False)
    np.testing.assert_array_equal(listing.targets, [[1, 1], [0, 0], [0, 1]])


def test_a_verification_is_no_label(tmp_path):
    rows = [
        {
            "source-ref": f"{name}.png",
            "y": k,
            "check": "1",
            "check-metadata": {"type": "groundtruth/label-verification"},
        }
        for k, name in enumerate("ab")
    ]
    listing = read(manifest(tmp_path, *rows, names=("a.png", "b.png")))
    assert listing.names == ("0", "1")
    assert listing.notes[0] == "attributes that are not used: check, check-metadata"


@pytest.mark.parametrize("key", ["patient", "Patient ID", "patientId", "PATIENT_ID", "subject_id", "Subject"])
def test_patients_by_any_spelling(tmp_path, key):
    rows = [
        {"source-ref": f"{name}.png", "y": k % 2, key: [7, 7, " 8 "][k], "scanner": "x"} for k, name in enumerate("abc")
    ]
    listing = read(manifest(tmp_path, *rows))
    assert listing.patients == ["7", "7", "8"]
    assert listing.notes == ("attributes that are not used: scanner",)


def test_of_two_attributes_for_a_patient_the_other_is_named(tmp_path):
    rows = [{"source-ref": f"{name}.png", "y": k, "subject_id": 1, "patient_id": name} for k, name in enumerate("ab")]
    listing = read(manifest(tmp_path, *rows, names=("a.png", "b.png")))
    assert listing.patients == ["a", "b"]
    assert listing.notes == ("attributes that are not used: subject_id",)


def test_a_byte_order_mark_and_windows_lines(tmp_path):
    root = channel(tmp_path, ("a.png", "b.png"))
    rows = [json.dumps({"source-ref": f"{name}.png", "y": k}) for k, name in enumerate("ab")]
    (root / "x.manifest").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*rows, ""]).encode())
    assert read(root).ids == ["a.png", "b.png"]


def test_a_file_whose_path_ends_like_the_address(tmp_path):
    root = channel(tmp_path, ("images/a.png", "images/b.png", "other/b.png"))
    row = {"source-ref": "s3://bucket/a.png", "y": 0}
    (root / "x.manifest").write_text(json.dumps(row))
    assert read(root, "manifest").ids == ["images/a.png"]
    (root / "x.manifest").write_text(json.dumps(row | {"source-ref": "s3://bucket/b.png"}))
    assert "x.manifest line 1: b.png may be images/b.png or other/b.png of" in refused(root, "manifest")
    (root / "x.manifest").write_text(json.dumps(row | {"source-ref": "s3://bucket/elsewhere/a.png"}))
    assert "elsewhere/a.png does not exist" in (message := refused(root, "manifest"))
    assert "; did you mean images/a.png?" in message


@pytest.mark.parametrize(
    ("values", "names", "exclusive", "targets"),
    [
        (["PNEUMONIA", "normal", "NORMAL", "normal"], ("PNEUMONIA", "normal"), True, [[1, 0], [0, 1], [0, 1], [0, 1]]),
        ([["Mass", "Edema"], [], ["mass"], ["Mass"]], ("Edema", "Mass"), False, [[1, 1], [0, 0], [0, 1], [0, 1]]),
        (["Mass|Edema?", "No Finding", "Mass", "Mass"], ("Edema", "Mass"), False, [[NAN, 1], [0, 0], [0, 1], [0, 1]]),
        (["A", "NA", "B", "A"], ("A", "B"), True, [[1, 0], [0, 1], [1, 0]]),
    ],
)
def test_labels_that_are_names(tmp_path, values, names, exclusive, targets):
    """As in a table: variants of a name are one label with a line, images without a class are left out with one."""
    files = [f"{k}.png" for k in range(len(values))]
    lines = [json.dumps({"source-ref": name, "label": value}) for name, value in zip(files, values, strict=True)]
    root = images.table(tmp_path / "set", "\n".join(lines), files, "x.manifest")
    listing = read(root)
    assert (listing.names, listing.exclusive) == (names, exclusive)
    np.testing.assert_array_equal(listing.targets, targets)
    notes = " | ".join(listing.notes)
    assert ("taken for one label" in notes) == (values[2] in ("NORMAL", ["mass"]))
    assert ("1 row has no class" in notes) == ("NA" in values)


def test_spellings_of_one_class_are_refused(tmp_path):
    names = {"class-map": {"0": "NORMAL", "1": "normal"}}
    lines = [json.dumps({"source-ref": f"{n}.png", "y": [k], "y-metadata": names}) for k, n in enumerate("ab")]
    root = images.table(tmp_path / "set", "\n".join(lines), ["a.png", "b.png"], "x.manifest")
    assert "has the labels 'NORMAL' and 'normal', which differ in case, spaces and signs only" in refused(root)
