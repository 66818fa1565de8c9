"""RecordIO as MXNet writes it.

Bytes fixed by hand, anything that is written comes back, damage is message with its place.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.data.recordio import MAGIC, SplitRecord, Writer, pack, scan
from thorax.errors import ThoraxError


def head(kind, length):
    return struct.pack("<II", 0xCED7230A, kind << 29 | length)


#: Records as dmlc-core's RecordIOWriter writes them: a payload of 5 bytes; one with the magic number at byte 4; one
#: that is the magic number alone; one with it at byte 2, where it is not looked for.
GOLDEN = [
    (b"abcde", head(0, 5) + b"abcde\0\0\0"),
    (b"abcd" + MAGIC + b"e", head(1, 4) + b"abcd" + head(3, 1) + b"e\0\0\0"),
    (MAGIC, head(1, 0) + head(3, 0)),
    (b"ab" + MAGIC + b"cd", head(0, 8) + b"ab" + MAGIC + b"cd"),
    (MAGIC * 2 + b"efgh", head(1, 0) + head(2, 0) + head(3, 4) + b"efgh"),
]


def write(path, *records):
    with Writer(path) as writer:
        for k, record in enumerate(records):
            writer.write(record, k)
    return path


@pytest.mark.parametrize(("payload", "expected"), GOLDEN)
def test_the_bytes_are_those_of_mxnet(tmp_path, payload, expected):
    file = write(tmp_path / "a.rec", payload)
    assert file.read_bytes() == expected


def test_a_images_header_and_index(tmp_path):
    file = write(tmp_path / "a.rec", pack(b"JPEG", 3.0, 7, 8), pack(b"PNG!!", [0, 1, 1], 9))
    first = struct.pack("<IfQQ", 0, 3.0, 7, 8) + b"JPEG"
    second = struct.pack("<IfQQ3f", 3, 0.0, 9, 0, 0, 1, 1) + b"PNG!!"
    assert file.read_bytes() == head(0, 28) + first + head(0, 41) + second + b"\0\0\0"
    assert (tmp_path / "a.idx").read_text() == "0\t0\n1\t36\n"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.idx", "a.rec"]
    one, two = scan(file)
    assert (one.id, one.id2, one.labels.tolist(), one.image.read(), one.offset) == (7, 8, [3.0], b"JPEG", 0)
    assert (two.id, two.labels.tolist(), two.image.read(), two.offset) == (9, [0, 1, 1], b"PNG!!", 36)


numbers = st.floats(width=32, allow_nan=False)
pieces = st.lists(st.one_of(st.just(MAGIC), st.binary(max_size=9)), max_size=8).map(b"".join)


@settings(max_examples=80, deadline=None)
@given(
    images=st.lists(st.tuples(pieces, st.one_of(numbers, st.lists(numbers, min_size=1, max_size=4))), max_size=5),
    luck=st.randoms(use_true_random=False),
)
def test_what_is_written_comes_back(tmp_path_factory, images, luck):
    """Also where the magic number is in the image, in a label or in an id."""
    ids = [luck.choice([k, 0xCED7230A, 0xCED7230A << 32]) for k in range(len(images))]
    file = write(
        tmp_path_factory.mktemp("r") / "a.rec",
        *(pack(data, labels, i) for (data, labels), i in zip(images, ids, strict=True)),
    )
    found = list(scan(file))
    assert [(r.id, r.image.read()) for r in found] == [(i, data) for i, (data, _) in zip(ids, images, strict=True)]
    for record, (_, labels) in zip(found, images, strict=True):
        np.testing.assert_array_equal(record.labels, np.atleast_1d(np.array(labels, np.float32)))


def test_a_split_record_is_put_together(tmp_path):
    file = write(
        tmp_path / "a.rec", pack(b"first", 0, 1), pack(b"x" * 8 + MAGIC + b"y" * 8 + MAGIC, 1, 2), pack(b"last", 0, 3)
    )
    found = list(scan(file))
    assert [type(r.image) is SplitRecord for r in found] == [False, True, False]
    assert [r.image.read() for r in found] == [b"first", b"x" * 8 + MAGIC + b"y" * 8 + MAGIC, b"last"]


class Huge(bytes):
    def __len__(self):
        return 2**29


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path):
    (tmp_path / "a.rec").write_bytes(b"older")
    with (
        pytest.raises(ThoraxError, match="record 0 has 536870912 bytes; RecordIO takes less than 536870912"),
        Writer(tmp_path / "a.rec") as writer,
    ):
        writer.write(Huge(), 0)
    assert [f.name for f in tmp_path.iterdir()] == ["a.rec"]
    assert (tmp_path / "a.rec").read_bytes() == b"older"


WHOLE = head(0, 28) + pack(b"JPEG", 0, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (WHOLE + WHOLE[:30], "is cut short: the record at byte 36 announces 28 bytes, 22 are there"),
        (WHOLE + WHOLE[:5], "is cut short: the record at byte 36 has 5 bytes of its head's 8"),
        (WHOLE + b"\xff" * 40, "at byte 36 is 0xffffffff, not the magic number 0xced7230a"),
        (b"\xff\xd8\xff\xe0" + b"0" * 90, "is no RecordIO file or is damaged: at byte 0 is 0xe0ffd8ff"),
        (head(5, 4) + b"abcd", "the record at byte 0 is of kind 5, which there is not"),
        (head(2, 4) + b"abcd", "the record at byte 0 is of kind 2 where a record begins"),
        (head(1, 4) + b"abcd" + WHOLE, "the record at byte 12 is of kind 0 where a record goes on"),
        (head(1, 4) + b"abcd", "is cut short: the record at byte 12 has 0 bytes"),
        (head(0, 8) + b"abcdefgh", "at byte 0: a record of 8 bytes is no image; its header alone has 24"),
        (
            head(0, 28) + struct.pack("<IfQQ", 99, 0, 0, 0) + b"JPEG",
            "at byte 0: a record of 28 bytes cannot hold the 99 labels",
        ),
        (head(0, 28) + struct.pack("<IfQQ", 2**32 - 1, 0, 0, 0) + b"JPEG", "cannot hold the 4294967295 labels"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path, data, message):
    (tmp_path / "a.rec").write_bytes(data)
    with pytest.raises(ThoraxError) as caught:
        list(scan(tmp_path / "a.rec"))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.rec"))


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 107), byte=st.integers(0, 255), keep=st.integers(0, 108))
def test_any_damage_is_one_of_ours(tmp_path_factory, place, byte, keep):
    """A changed byte and a cut: records, or an error of ours.

    Never another exception, never a record out of the file.
    """
    data = bytearray(WHOLE * 3)
    data[place] = byte
    file = tmp_path_factory.mktemp("r") / "a.rec"
    file.write_bytes(data[:keep])
    try:
        for record in scan(file):
            record.image.read()
    except ThoraxError:
        pass
