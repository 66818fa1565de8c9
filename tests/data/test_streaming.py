"""Streaming: an order that is read forward only, the same for any number of processes, and bounded in memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from thorax.data import streaming
from thorax.data.columns import ByteRangeColumn
from thorax.data.loading import ImageDataset, TrainingBatches, loader
from thorax.data.preprocessing import Preprocessing
from thorax.data.recordio import SplitRecord, Writer, pack, scan
from thorax.data.samples import SampleSet, SampleTable
from thorax.data.streaming import StreamedBatches, streaming_order, streams
from thorax.errors import ThoraxError

GAP = 7


def content(image: int, size: int) -> bytes:
    return np.random.default_rng(image).bytes(size)


def laid_out(counts: list[int], folder: Path = Path("/nowhere"), size: int = 50) -> SampleSet:
    """Images in files of counts[0], counts[1] ...

    Images, each image after a gap, as after a tar's header; nothing is written.
    """
    which = np.repeat(np.arange(len(counts)), counts)
    sizes = size + np.arange(len(which)) % 5
    within = np.concatenate([np.arange(count) for count in counts]) if counts else which
    offsets = GAP + within * (size + 5 + GAP)
    sources = ByteRangeColumn([folder / f"s{k}.tar" for k in range(len(counts))], which, offsets, sizes)
    ids = [f"f{k}" for k in range(len(which))]
    return SampleSet("train", SampleTable(ids, sources, np.zeros((len(ids), 1)), ids), images.BINARY)


def written(counts: list[int], folder: Path, size: int = 50) -> SampleSet:
    whole = laid_out(counts, folder, size)
    files, which, offsets, sizes, _ = whole.table.sources.columns
    for k, file in enumerate(files):
        data = bytearray()
        for image in np.flatnonzero(which == k):
            data += bytes(int(offsets[image]) - len(data)) + content(int(image), int(sizes[image]))
        file.write_bytes(data + bytes(20))
    return whole


@pytest.fixture(scope="module")
def set_of_70(tmp_path_factory) -> SampleSet:
    return written([9, 1, 20, 0, 33, 7], tmp_path_factory.mktemp("shards"))


COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any)


# --- the order


@given(
    counts=COUNTS,
    batch=st.integers(1, 40),
    buffer=st.integers(1, 200),
    seed=st.integers(0, 2**31 - 1),
    epoch=st.integers(0, 1000),
)
def test_an_epoch_is_a_permutation_and_follows_from_seed_and_epoch(counts, batch, buffer, seed, epoch):
    sources = laid_out(counts).table.sources
    order = streaming_order(sources, batch, buffer, seed, epoch)
    assert sorted(order.tolist()) == list(range(sum(counts)))
    np.testing.assert_array_equal(order, streaming_order(sources, batch, buffer, seed, epoch))


@given(counts=COUNTS, batch=st.integers(1, 40), buffer=st.integers(1, 200), seed=st.integers(0, 99))
def test_a_lane_is_taken_front_to_back_but_for_what_the_buffer_holds(counts, batch, buffer, seed):
    """Step t takes an image that is among the first t + depth of its lane, so no more than `depth` images ever wait."""
    sources = laid_out(counts).table.sources
    order = streaming_order(sources, batch, buffer, seed, 0)
    place = np.argsort(streaming.reading_order(sources, streaming.generator(seed, 0)))
    lanes = min(batch, sum(counts))
    steps = sum(counts) // lanes
    taken = place[order[: steps * lanes]].reshape(steps, lanes) - np.arange(lanes) * steps
    depth = max(1, buffer // lanes)
    assert (taken < np.arange(steps)[:, None] + depth).all()
    assert (np.sort(taken, axis=0) == np.arange(steps)[:, None]).all()  # each lane is a stretch of its own


def test_golden_order():
    """A change here changes every streamed run that resumes."""
    assert streaming_order(laid_out([4, 5, 3]).table.sources, 4, 8, 7, 3).tolist() == [
        4,
        6,
        10,
        1,
        3,
        7,
        11,
        0,
        5,
        8,
        9,
        2,
    ]


def test_epochs_differ_in_order_in_batches_and_in_what_is_left_out():
    sources = laid_out([10] * 5).table.sources
    orders = [streaming_order(sources, 8, 16, 0, epoch) for epoch in range(6)]
    assert len({tuple(order) for order in orders}) == 6
    assert len({frozenset(order[:8].tolist()) for order in orders}) == 6
    assert len({frozenset(order[48:].tolist()) for order in orders}) > 3


def test_shards_sorted_by_class_still_give_mixed_batches():
    """Each batch takes from everywhere: with 30 % positives in a row at the end, every batch of 20 has about 6."""
    sources = laid_out([100] * 10).table.sources
    positives = (streaming_order(sources, 20, 200, 1, 0) >= 700).reshape(50, 20).sum(axis=1)
    assert positives.min() >= 3 and positives.max() <= 9


def test_neighbours_are_parted_by_the_buffer():
    sources = laid_out([500] * 2).table.sources
    together = {buffer: np.mean(np.abs(np.diff(streaming_order(sources, 1, buffer, 1, 0))) == 1) for buffer in (1, 200)}
    assert together[1] > 0.99 and together[200] < 0.05


# --- reading


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 30),
    world=st.integers(1, 9),
    buffer=st.integers(1, 100),
    start=st.integers(0, 5),
    kept=st.integers(1, 70),
    ahead=st.sampled_from([1, 300, 10**6]),
)
def test_every_process_gets_its_images_and_no_byte_is_read_twice(set_of_70, batch, world, buffer, start, kept, ahead):
    """For any part of the set, batch, world size, buffer and step to go on at."""
    part = set_of_70.subset(np.sort(np.random.default_rng(kept).permutation(70)[:kept]), "train")
    sources = part.table.sources
    sizes = sources.columns[3]
    whole = list(TrainingBatches(streaming_order(sources, batch, buffer, 5, 1), batch, 1))
    start = min(start, len(whole))
    read_bytes, pread = [], os.pread
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "LEAST", ahead)
        patch.setattr(streaming, "AHEAD", ahead)
        patch.setattr(streaming, "HOLE", GAP + 5)

        def counted(file, size, offset):
            read_bytes.append(size)
            return pread(file, size, offset)

        patch.setattr(streaming.os, "pread", counted)
        for rank in range(world):
            items = list(StreamedBatches(part, batch, buffer, 5, 1, start, rank, world))
            assert len(items) == len(whole) - start
            for item, wanted in zip(items, whole[start:], strict=True):
                assert item.epoch == 1
                np.testing.assert_array_equal(item.places, wanted.places)
                mine = item.places[rank::world]
                assert item.encoded == [content(int(part.ids[image][1:]), int(sizes[image])) for image in mine]
    trained = [int(image) for request in whole[start:] for image in request.places]
    assert sum(read_bytes) <= sum(int(sizes[image]) + GAP + 5 for image in trained)


def test_large_reads_where_the_images_lie_together(set_of_70, monkeypatch):
    times = []
    pread = os.pread
    monkeypatch.setattr(streaming.os, "pread", lambda *given: times.append(given) or pread(*given))
    assert len(list(StreamedBatches(set_of_70, 4, 8, 0, 0))) == 17
    assert len(times) <= 4 + 5 + 1  # a read per lane, and one more where a lane goes on in another shard


def test_memory_is_bounded_by_the_buffer_and_not_by_the_set(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "AHEAD", 1 << 20)
    big = written([250] * 4, tmp_path, size=20_000)  # 20 MB
    tracemalloc.start()
    seen = sum(len(item.places) for item in StreamedBatches(big, 16, 64, 0, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 992
    # 64 images wait, 16 lanes read 64 KiB each ahead (twice while a piece is cut up), 3 batches are on their way.
    assert peak < 64 * 20_000 + 2 * (1 << 20) + 4 * 16 * 20_000 + (1 << 20)


def test_a_shard_cut_short_while_it_is_read_is_one_line(tmp_path):
    whole = written([30, 30], tmp_path)
    file = tmp_path / "s1.tar"
    os.truncate(file, 700)
    with pytest.raises(ThoraxError, match=r"s1.tar is cut short: it ends \d+ bytes before the end of its images"):
        list(StreamedBatches(whole, 4, 8, 0, 0))
    file.unlink()
    with pytest.raises(ThoraxError, match=r"s1.tar at byte \d+ cannot be read: No such file"):
        list(StreamedBatches(whole, 4, 8, 0, 0))


def test_leaving_in_the_middle_leaves_no_thread_and_no_open_file(set_of_70):
    before = len(os.listdir("/proc/self/fd"))
    items = iter(StreamedBatches(set_of_70, 4, 8, 0, 0))
    next(items)
    assert len(os.listdir("/proc/self/fd")) > before
    items.close()
    assert len(os.listdir("/proc/self/fd")) == before


# --- through the loader


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> SampleSet:
    """21 images one after the other in two RecordIO files, two records of them in several parts."""
    folder = tmp_path_factory.mktemp("records")
    for k, count in enumerate((12, 9)):
        with Writer(folder / f"{k}.rec") as writer:
            for n in range(count):
                image = images.data(images.grey(seed=20 * k + n))
                if n == 5:  # the magic number at a multiple of 4 cuts a record into parts
                    image += b"\0" * (-len(image) % 4) + b"\x0a\x23\xd7\xce" * 2
                writer.write(pack(image, 0.0, n), n)
    ranges = [record.image for k in (0, 1) for record in scan(folder / f"{k}.rec")]
    assert sum(isinstance(r, SplitRecord) for r in ranges) == 2
    ids = [f"f{k}" for k in range(len(ranges))]
    return SampleSet("train", SampleTable(ids, ByteRangeColumn.of(ranges), np.zeros((len(ids), 1)), ids), images.BINARY)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_decode_what_one_reader_reads(pictures, workers):
    small = Preprocessing(16, 20)
    reader = ImageDataset(pictures, small, seed=3, random_crop=True, rank=1, world_size=2)
    streamed = list(loader(reader, StreamedBatches(pictures, 4, 8, 3, 1, 1, 1, 2), workers))
    order = streaming_order(pictures.table.sources, 4, 8, 3, 1)
    by_place = list(loader(reader, TrainingBatches(order, 4, 1, 1), 0))
    assert len(streamed) == len(by_place) == 4
    for left, right in zip(streamed, by_place, strict=True):
        assert not left.problem
        assert all(
            torch.equal(getattr(left, name), getattr(right, name))
            for name in ("images", "draws", "indices", "global_indices")
        )


def test_when_images_are_streamed(tmp_path):
    shards, files = laid_out([3, 3]), images.sample_set([0, 1])
    ranges = ByteRangeColumn([tmp_path / "a.rec"], np.zeros(2, int), np.arange(2) * 9, np.full(2, 9))
    records = SampleSet("train", SampleTable(["a", "b"], ranges, np.zeros((2, 1)), ["a", "b"]), images.BINARY)
    assert [streams(None, False, s) for s in (shards, records, files)] == [True, False, False]
    assert [streams(False, False, s) for s in (shards, records, files)] == [False, False, False]
    assert [streams(True, False, s) for s in (shards, records)] == [True, True]
    assert streams(None, True, shards) is False  # drawn by class
    with pytest.raises(ThoraxError, match="streaming=true but the images of train are files of their own"):
        streams(True, False, files)
