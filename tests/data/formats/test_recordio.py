"""Channels of RecordIO: what is read, and what is refused in one line."""

from __future__ import annotations

import numpy as np

import images
from listings import read, records, refused
from thorax.data.recordio import MAGIC, Writer, pack

NAN = np.nan


def test_records_with_one_class(tmp_path):
    listing = read(records(tmp_path, 0.0, 1.0, 1.0, ids=[5, 9, 7]))
    assert listing.ids == ["train/5", "train/9", "train/7"]
    assert listing.names == ("0", "1")
    np.testing.assert_array_equal(listing.targets, [[1, 0], [0, 1], [0, 1]])
    assert [source.read() for source in listing.sources] == [images.data(images.grey(seed=k)) for k in range(3)]
    assert "put the .lst that they were made from beside the .rec" in listing.notes[0]
    assert "the patient is not known of any of the" in listing.notes[1]


def test_packed_labels(tmp_path):
    listing = read(records(tmp_path, [0, 1, 1], [0, 0, 0]), labels=("A", "B", "C"))
    assert not listing.exclusive
    np.testing.assert_array_equal(listing.targets, [[0, 1, 1], [0, 0, 0]])
    one = read(records(tmp_path / "one", [1.0], [0.0]))  # im2rec --pack-label with a single label
    assert one.exclusive
    np.testing.assert_array_equal(one.targets, [[0, 1], [1, 0]])


def test_several_files_and_the_lists_that_they_were_made_from(tmp_path):
    records(
        tmp_path, 0.0, 1.0, name="a.rec", lst="0\t0\tNORMAL/IM-0001-0001.jpeg\n1\t1\tPNEUMONIA/person3_virus_1.jpeg\n"
    )
    records(tmp_path, 1.0, name="b.rec", lst="0\t1\tPNEUMONIA/person3_virus_2.jpeg\n")
    listing = read(tmp_path)
    assert listing.ids == [
        "NORMAL/IM-0001-0001.jpeg",
        "PNEUMONIA/person3_virus_1.jpeg",
        "PNEUMONIA/person3_virus_2.jpeg",
    ]
    assert listing.patients == ["IM-0001", "person3", "person3"]
    assert listing.notes == ()


def test_records_whose_ids_repeat_are_counted(tmp_path):
    assert read(records(tmp_path, 0.0, 1.0, ids=[0, 0])).ids == ["train/0", "train/1"]


def test_a_image_that_holds_the_magic_number(tmp_path):
    with Writer(tmp_path / "x.rec") as writer:
        writer.write(pack(b"abcd" + MAGIC + b"efgh", 1.0, 0), 0)
        writer.write(pack(b"plain", 0.0, 1), 1)
    assert [source.read() for source in read(tmp_path).sources] == [b"abcd" + MAGIC + b"efgh", b"plain"]


def test_bad_records(tmp_path):
    whole = (records(tmp_path / "a", 0.0, 1.0) / "train.rec").read_bytes()
    (tmp_path / "a" / "train.rec").write_bytes(whole[:-20])
    assert "train.rec is cut short: the record at byte 744 announces 739 bytes, 720 are there" in refused(
        tmp_path / "a"
    )
    (tmp_path / "a" / "train.rec").write_bytes(b"\x89PNG" + whole)
    assert "at byte 0 is 0x474e5089, not the magic number 0xced7230a" in refused(tmp_path / "a")
    (tmp_path / "a" / "train.rec").write_bytes(b"")
    assert "train.rec holds no records" in refused(tmp_path / "a")
    assert "record 1 at byte" in (message := refused(records(tmp_path / "b", 0.0, 7.0), num_classes=2))
    assert "class 7 is out of range; it must be 0 to 1 (num_classes=2)" in message
    assert "has 2 labels, those before it 1" in refused(records(tmp_path / "c", 0.0, [0, 1]))
    assert "record 1 at byte" in (message := refused(records(tmp_path / "d", 0.0, 1.0, lst="0\t0\ta.png\n")))
    assert "is not in train.lst" in message
