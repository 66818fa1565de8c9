"""The sample table: rows come back as they were put in, a million of them in little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from thorax.data.samples import Sample, SampleSet, SampleTable
from thorax.data.source import ByteRange
from thorax.errors import ThoraxError

texts = st.text(st.characters(exclude_characters="/.\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
label = st.sampled_from([0.0, 1.0, np.nan])
files = st.builds(lambda folder, name: Path("/data", folder, name), texts, texts)
ranges = st.builds(
    ByteRange, st.sampled_from([Path("/a.rec"), Path("/b.rec")]), st.integers(0, 2**45), st.integers(0, 2**32 - 1)
)


def rows(places):
    return st.lists(st.tuples(texts, places, st.tuples(label, label, label), texts), min_size=1, max_size=8)


def plain(sample):
    return sample.id, sample.source, sample.patient, [None if np.isnan(v) else v for v in sample.labels]


@settings(max_examples=60, deadline=None)
@given(rows=st.one_of(rows(files), rows(ranges)), seed=st.integers(0, 99))
def test_rows_come_back_in_any_order(rows, seed):
    samples = [Sample(name, source, np.array(labels, np.float32), patient) for name, source, labels, patient in rows]
    whole = SampleSet("train", samples, images.FINDINGS)
    assert [plain(s) for s in whole.samples] == [plain(s) for s in samples]
    chosen = np.random.default_rng(seed).integers(0, len(rows), 2 * len(rows))
    part = whole.subset(chosen.tolist(), "test")
    assert [plain(part.samples[k]) for k in range(len(part))] == [plain(samples[k]) for k in chosen]
    assert [plain(s) for s in part.samples[::-1]] == [plain(samples[k]) for k in chosen[::-1]]
    assert part.ids == [rows[k][0] for k in chosen]
    assert part.patients == [rows[k][3] for k in chosen]
    np.testing.assert_array_equal(part.targets, np.array([rows[k][2] for k in chosen], np.float32))
    assert part.samples[-1].labels.dtype == part.targets.dtype == np.float32


def test_names_that_are_not_utf8_come_back():
    name = b"f\xfclm.png".decode("utf-8", "surrogateescape")
    one = SampleSet("train", [Sample(name, Path("/d") / name, np.zeros(1, np.float32), name)], images.BINARY)
    assert plain(one.samples[0])[:3] == (name, Path("/d") / name, name)


def test_a_row_that_is_not_there():
    with pytest.raises(IndexError):
        images.sample_set([0, 1]).samples[2]


def test_a_hundred_thousand_images_take_less_than_ten_megabytes():
    ids = [f"{k // 4:08d}_{k % 4:03d}.png" for k in range(100_000)]
    table = SampleTable(
        ids,
        [Path(f"/opt/ml/input/data/train/images_{k % 12:03d}/images/{name}") for k, name in enumerate(ids)],
        np.zeros((len(ids), 14), np.float32),
        [name[:8] for name in ids],
    )
    assert table.nbytes < 10e6
    assert table[99_999].source == Path("/opt/ml/input/data/train/images_003/images/00024999_003.png")


def test_a_stretch_of_a_file(tmp_path):
    (tmp_path / "x.rec").write_bytes(bytes(range(100)))
    assert ByteRange(tmp_path / "x.rec", 10, 5).read() == bytes(range(10, 15))
    assert str(ByteRange(Path("x.rec"), 10, 5)) == "x.rec at byte 10"


@pytest.mark.parametrize(
    ("offset", "size", "message"),
    [
        (98, 5, "x.rec at byte 98 is cut short: 5 bytes are announced, 2 are there"),
        (1000, 1, "is cut short"),
        (-1, 1, "x.rec at byte -1 cannot be read: Invalid argument"),
    ],
)
def test_a_stretch_that_is_not_there(tmp_path, offset, size, message):
    (tmp_path / "x.rec").write_bytes(bytes(100))
    with pytest.raises(ThoraxError, match=message):
        ByteRange(tmp_path / "x.rec", offset, size).read()


def test_a_stretch_of_no_file(tmp_path):
    with pytest.raises(ThoraxError, match=r"gone\.rec at byte 0 cannot be read: No such file"):
        ByteRange(tmp_path / "gone.rec", 0, 1).read()


def test_a_image_in_a_larger_file_is_decoded_as_it_is_alone(tmp_path):
    from thorax.data.images import DecodeError, Preprocessing

    image = images.data(images.grey())
    (tmp_path / "x.rec").write_bytes(b"12345" + image + b"6789")
    prepared = Preprocessing(16, 20)
    np.testing.assert_array_equal(prepared.image(ByteRange(tmp_path / "x.rec", 5, len(image))), prepared.image(image))
    with pytest.raises(DecodeError, match=r"x\.rec at byte 0 cannot be read"):
        prepared.image(ByteRange(tmp_path / "x.rec", 0, 40))
