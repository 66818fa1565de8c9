"""Which format a channel is found to be, folders of parts, and files that hold anything at all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import images
from listings import channel, manifest, read, records, refused, rows
from thorax.errors import ThoraxError

NAN = np.nan


# --- folders of parts


def test_the_root_of_kaggles_set(tmp_path):
    root = images.folders(tmp_path / "train", NORMAL=["IM-0001-0001.jpeg"], PNEUMONIA=["person1_virus_2.jpeg"]).parent
    images.folders(root / "val", NORMAL=["NORMAL2-IM-1.jpeg"], PNEUMONIA=["person9_virus_2.jpeg"])
    images.folders(root / "test", NORMAL=["IM-0003-0001.jpeg"], PNEUMONIA=["person1_virus_7.jpeg"])
    listing = read(root)
    assert listing.names == ("NORMAL", "PNEUMONIA")
    assert listing.ids[0] == "test/NORMAL/IM-0003-0001.jpeg"
    assert listing.parts == ["test", "test", "train", "train", "train", "train"]
    assert (
        "the validation folder has 2 images, too few to choose an epoch or a threshold on: they join train"
        in listing.notes[0]
    )
    np.testing.assert_array_equal(listing.targets.argmax(axis=1), [0, 1] * 3)


def test_a_validation_folder_of_some_size_stays(tmp_path):
    for part, count in (("train", 2), ("validation", 30)):
        images.folders(tmp_path / part, **{name: [f"{name}{part}{k}.png" for k in range(count)] for name in "AB"})
    assert read(tmp_path).parts == ["train"] * 4 + ["validation"] * 60
    assert [note[:44] for note in read(tmp_path).notes] == ["the patient is not known of any of the 64 im"]


# --- which format


def test_every_format_that_is_there_is_named(tmp_path):
    root = records(channel(tmp_path / "c", x__lst="0\t1\ta.png\n", x__csv="path,label\na.png,A\n"), 0.0)
    manifest(root, *rows(0))
    message = refused(root)
    for seen in (
        "a list (x.lst)",
        "RecordIO (train.rec)",
        "a manifest (x.manifest)",
        "a table (x.csv)",
        "choose one by data_format=lst|recordio|manifest|table",
    ):
        assert seen in message
    assert read(root, "lst").ids == ["a.png"]
    assert read(root, "rec").ids == ["train/0"]


def test_images_are_listed_not_opened(tmp_path):
    """A channel in FastFile mode: an image that is looked at is fetched.

    Here they lead nowhere, and nobody notices yet.
    """
    root = channel(tmp_path / "c", (), x__csv="path,label\na.png,A\nb.png,B\n")
    for name in ("a.png", "b.png"):
        (root / name).symlink_to(tmp_path / "nowhere")
    assert read(root).ids == ["a.png", "b.png"]


def test_a_channel_that_may_not_be_read(tmp_path, monkeypatch):
    root = channel(tmp_path / "c", x__lst="0\t1\ta.png\n")
    (root / "x.lst").unlink()
    (root / "x.lst").symlink_to(root / "x.lst")
    assert "cannot be read: " in refused(root)


# --- whatever a file holds


numbers = st.one_of(st.integers(-2, 5), st.floats(), st.booleans(), st.none(), st.text("01 []{},:ab", max_size=6))
keys = st.sampled_from(["class-map", "class-name", "0", "x"])
values = st.recursive(
    numbers, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(keys, v, max_size=3)), max_leaves=6
)
attributes = st.sampled_from(["source-ref", "class", "class-metadata", "patient", "y"])
lines = st.dictionaries(attributes, st.one_of(values, st.sampled_from(["a.png", "b.png"])), max_size=4)
cells = st.sampled_from(["a.png", "b.png", "Mass", "1", "0", "-1", "99", "nan", "train", "", *'\t,\n|;"?\x00é', "../"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "x.manifest",
            st.lists(lines.map(lambda row: {"source-ref": "a.png"} | row).map(json.dumps), max_size=3).map("\n".join),
        ),
        ("x.lst", st.lists(cells, max_size=14).map("".join)),
        ("x.csv", st.lists(cells, max_size=14).map(lambda c: "path,label,split\n" + "".join(c))),
        (
            "Data_Entry_2017.csv",
            st.lists(cells, max_size=14).map(lambda c: "Image Index,Finding Labels,Patient ID\n" + "".join(c)),
        ),
        (
            "x.json",
            values.flatmap(
                lambda v: st.sampled_from(["images", "annotations", "categories"]).map(
                    lambda key: json.dumps(
                        {
                            "images": [{"id": 1, "file_name": "a.png"}],
                            "annotations": [],
                            "categories": [{"id": 1, "name": "x"}],
                        }
                        | {key: v}
                    )
                )
            ),
        ),
    ],
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_whatever_a_file_holds_is_read_or_refused_in_one_line(tmp_path_factory, name, content, data):
    root = channel(tmp_path_factory.mktemp("c"), ("a.png", "b.png"))
    (root / name).write_text(data.draw(content))
    try:
        listing = read(root)
    except ThoraxError as error:
        assert str(error).startswith("channel train: ")  # noqa: PT017  it need not be raised
    else:
        assert len(listing.ids) == len(listing.targets) == len(listing.patients) > 0
        assert listing.targets.shape[1] == len(listing.names)
        assert np.isin(listing.targets[~np.isnan(listing.targets)], [0, 1]).all()
