"""Loading.

Every image exactly once, shares of a global batch, going on in mid-epoch, and images that cannot be read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from thorax.data.augment import DRAWS, Augmentation, AugmentationRanges, draws_for
from thorax.data.images import Preprocessing
from thorax.data.loading import (
    Batch,
    BatchRequest,
    EvaluationBatches,
    ImageDataset,
    TrainingBatches,
    balanced_weights,
    check_headers,
    epoch_order,
    loader,
    mean_std,
)
from thorax.data.samples import SampleSet
from thorax.job import Process
from thorax.training.distributed import gather

SMALL = Preprocessing(16, 20)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> SampleSet:
    """Ten images of different content."""
    return images.sample_set([0, 1] * 5, sources=images.written(tmp_path_factory.mktemp("good"), 10))


@pytest.fixture
def damaged(tmp_path) -> SampleSet:
    """Eight images; 2 is cut short, 3 empty, 5 a text, 6 missing."""
    paths = images.written(tmp_path, 8)
    paths[2].write_bytes(images.data(images.grey())[:400])
    paths[3].write_bytes(b"")
    paths[5].write_bytes(b"not an image")
    paths[6].unlink()
    return images.sample_set([0, 1] * 4, sources=paths)


def same(left: Batch, right: Batch) -> bool:
    names = ("images", "draws", "indices", "global_indices")
    return (
        all(torch.equal(getattr(left, n), getattr(right, n)) for n in names)
        and left.corrupt == right.corrupt
        and left.problem == right.problem
    )


# --- the order of an epoch


@given(count=st.integers(1, 300), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000))
def test_an_epoch_is_a_permutation(count, seed, epoch):
    order = epoch_order(count, seed, epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    np.testing.assert_array_equal(order, epoch_order(count, seed, epoch))


def test_golden_order():
    """A change here changes every run that resumes."""
    assert epoch_order(12, 7, 3).tolist() == [10, 11, 8, 2, 0, 3, 9, 1, 7, 5, 4, 6]


def test_epochs_and_seeds_differ():
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}
    assert len(orders) == 6


def test_order_and_draws_are_not_the_same_numbers():
    """Both come from seed and epoch; image k's draws must not follow from its place."""
    places = np.argsort(epoch_order(300, 0, 0)) / 300
    u = np.stack([draws_for(0, 0, image) for image in range(300)])
    assert np.abs([np.corrcoef(places, u[:, k])[0, 1] for k in range(DRAWS)]).max() < 0.25


def test_balanced_draws_even_classes_out():
    whole = images.sample_set([1] * 50 + [0] * 950)
    weights = balanced_weights(whole)
    assert weights[:50].sum() == pytest.approx(weights[50:].sum())
    order = epoch_order(1000, 0, 0, weights)
    assert len(order) == 1000
    assert 430 < int((order < 50).sum()) < 570


def test_balanced_weights_by_combination_of_labels():
    targets = [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [np.nan, 0, 0]]
    weights = balanced_weights(images.sample_set(targets, space=images.FINDINGS))
    np.testing.assert_allclose(weights, [1 / 3, 1 / 3, 1 / 3, 1, 1 / 2, 1 / 2])


# --- every image exactly once


@given(count=st.integers(0, 200), batch=st.integers(1, 50), world=st.integers(1, 17), view=st.integers(0, 3))
def test_evaluation_takes_every_image_once(count, batch, world, view):
    found = []
    for rank in range(world):
        mine = EvaluationBatches(count, batch, rank, world, view)
        batches = list(mine)
        assert len(mine) == len(batches)
        assert all(item.epoch is None and item.view == view and 0 < len(item.places) <= batch for item in batches)
        found += [int(i) for item in batches for i in item.places]
    assert sorted(found) == list(range(count))


@given(count=st.integers(1, 200), batch=st.integers(1, 64), start=st.integers(0, 8))
def test_training_goes_on_where_it_stopped(count, batch, start):
    order = epoch_order(count, 0, 3)
    whole = list(TrainingBatches(order, batch, 3))
    size = min(batch, count)
    assert len(whole) == count // size
    assert all(item.epoch == 3 and len(item.places) == size for item in whole)
    seen = [int(i) for item in whole for i in item.places]
    assert len(set(seen)) == len(seen) == count // size * size
    rest = TrainingBatches(order, batch, 3, start=min(start, len(whole)))
    assert len(rest) == len(list(rest))
    for left, right in zip(whole[min(start, len(whole)) :], rest, strict=True):
        np.testing.assert_array_equal(left.places, right.places)


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 10), world=st.integers(1, 5), epoch=st.integers(0, 3))
def test_the_shares_of_all_processes_are_the_global_batch(good, batch, world, epoch):
    alone = ImageDataset(good, SMALL, seed=1)
    shares = [ImageDataset(good, SMALL, seed=1, rank=rank, world_size=world) for rank in range(world)]
    for item in TrainingBatches(epoch_order(len(good), 1, epoch), batch, epoch):
        whole, parts = alone[item], [share[item] for share in shares]
        rows = {int(i): (part.images[row], part.draws[row]) for part in parts for row, i in enumerate(part.indices)}
        assert sorted(rows) == sorted(whole.indices.tolist())
        assert sum(len(part.indices) for part in parts) == len(whole.indices)
        for row, index in enumerate(whole.indices.tolist()):
            assert torch.equal(rows[index][0], whole.images[row])
            assert torch.equal(rows[index][1], whole.draws[row])
        assert all(torch.equal(part.global_indices, whole.global_indices) for part in parts)


def test_what_a_batch_holds(good):
    batch = ImageDataset(good, SMALL, seed=5)[BatchRequest(np.array([7, 3]), epoch=2)]
    assert (batch.images.shape, batch.images.dtype) == ((2, 16, 20), torch.uint8)
    assert (batch.indices.tolist(), batch.global_indices.tolist()) == ([7, 3], [7, 3])
    np.testing.assert_array_equal(batch.images[1].numpy(), SMALL.image(good.samples[3].source))
    np.testing.assert_array_equal(batch.draws.numpy(), [draws_for(5, 2, 7), draws_for(5, 2, 3)])


def test_a_reader_that_augments_does_what_its_draws_say_and_leaves_none(good):
    augment = Augmentation(AugmentationRanges.named("xray"))
    plain, reader = ImageDataset(good, SMALL, seed=5), ImageDataset(good, SMALL, seed=5, augment=augment)
    for request in (BatchRequest(np.array([7, 3]), epoch=2), BatchRequest(np.array([1, 3]), view=1)):
        given, found = plain[request], reader[request]
        assert torch.equal(found.images, augment(given.images, given.draws))
        assert found.draws.shape == (0, DRAWS) and torch.equal(found.indices, given.indices)
    served = BatchRequest(np.array([1, 3]))
    assert same(plain[served], reader[served])


def test_evaluation_draws_nothing_and_shares_nothing_again(good):
    batch = ImageDataset(good, SMALL, rank=1, world_size=2, random_crop=True)[BatchRequest(np.array([1, 3, 5]))]
    assert batch.indices.tolist() == [1, 3, 5]
    assert batch.draws.shape == (0, DRAWS)


def test_augmented_views_are_fixed_by_image_and_not_those_of_training(good):
    reader = ImageDataset(good, SMALL, seed=5, rank=1, world_size=2)
    views = {view: next(iter(EvaluationBatches(10, 4, 1, 2, view))) for view in (1, 2)}
    first, second = (reader[views[view]] for view in (1, 2))
    assert first.indices.tolist() == second.indices.tolist() == [1, 3, 5, 7]
    assert first.draws.shape == (4, DRAWS)
    assert torch.equal(first.draws, reader[views[1]].draws)
    again = ImageDataset(good, SMALL, seed=5)[BatchRequest(np.array([3]), view=1)]
    assert torch.equal(first.draws[1:2], again.draws)
    np.testing.assert_array_equal(again.draws[0].numpy(), draws_for(5, 2**32 - 2, 3))
    training = np.stack([draws_for(5, epoch, image) for epoch in range(20) for image in (1, 3, 5, 7)])
    assert not np.isin(first.draws, training).any()
    assert not np.isin(first.draws, second.draws).any()


@pytest.mark.parametrize("scaled", [None, 30])
def test_random_crops_in_training_and_the_middle_in_evaluation(good, scaled):
    cropped = Preprocessing(24, 24, fit="crop", resize=scaled)
    reader = ImageDataset(good, cropped, seed=2, random_crop=True)
    pieces = [reader[BatchRequest(np.array([4]), epoch)].images[0].numpy() for epoch in range(8)]
    assert len({p.tobytes() for p in pieces}) > 4
    whole = cropped.uncropped(good.samples[4].source, "image")
    spots = np.lib.stride_tricks.sliding_window_view(whole, (24, 24))
    assert all((spots == p).all(axis=(2, 3)).any() for p in pieces)
    served = reader[BatchRequest(np.array([4]))]
    np.testing.assert_array_equal(served.images[0].numpy(), cropped.image(good.samples[4].source))
    fixed = ImageDataset(good, cropped, seed=2, random_crop=False)[BatchRequest(np.array([4]), epoch=3)]
    np.testing.assert_array_equal(fixed.images[0].numpy(), cropped.image(good.samples[4].source))


def test_a_worker_process_reads_the_same(good):
    reader = ImageDataset(good, SMALL, seed=3, random_crop=True)
    batches = TrainingBatches(epoch_order(len(good), 3, 1), 4, 1)
    here, there = (list(loader(reader, batches, workers)) for workers in (0, 1))
    assert len(here) == len(there) == 2
    assert all(same(left, right) for left, right in zip(here, there, strict=True))


# --- images that cannot be read


@pytest.mark.parametrize("epoch", [None, 0])
def test_a_corrupt_image_is_named(damaged, epoch):
    batch = ImageDataset(damaged, SMALL)[BatchRequest(np.array([0, 3, 1]), epoch)]
    assert batch.problem == f"{damaged.samples[3].source} cannot be read: the file is empty (0 bytes)"
    assert len(batch.images) == 0


@pytest.mark.parametrize("epoch", [None, 0])
def test_a_corrupt_image_is_masked_when_it_may_be_skipped(damaged, epoch):
    batch = ImageDataset(damaged, SMALL, skip_corrupt=True)[BatchRequest(np.arange(8), epoch)]
    assert batch.corrupt == (2, 3, 5, 6)
    assert batch.problem == ""
    assert batch.indices.tolist() == list(range(8))
    for row in range(8):
        assert bool(batch.images[row].any()) is (row not in batch.corrupt)


def test_a_problem_comes_through_a_worker_process(damaged):
    batches = list(loader(ImageDataset(damaged, SMALL), EvaluationBatches(8, 2, 0, 1), 1))
    assert [bool(b.problem) for b in batches] == [False, True, True, True]


def test_headers_tell_the_bad_images(damaged):
    bad = check_headers(damaged, SMALL)
    assert set(bad) - {2} == {3, 5, 6}  # an image that is cut short may look well from its header
    assert "f3.png cannot be read: the file is empty (0 bytes)" in bad[3]
    assert "its content is neither" in bad[5]
    assert "does not exist" in bad[6]


def test_good_images_pass_the_header_check(good):
    assert check_headers(good, SMALL) == {}
    assert check_headers(good, Preprocessing(40, 48, fit="crop")) == {}


@pytest.mark.parametrize(("height", "width"), [(60, 60), (48, 40), (41, 20), (20, 49)])
def test_headers_tell_images_smaller_than_the_crop(tmp_path, height, width):
    """Upright and turned: (40, 48) is what a viewer shows of both."""
    paths = [
        images.put(tmp_path / "a.png"),
        images.put(tmp_path / "b.png", images.turned(images.grey(), 6)),
        images.put(tmp_path / "c.png", images.grey(64, 64)),
    ]
    found = check_headers(images.sample_set([0, 1, 0], sources=paths), Preprocessing(height, width, fit="crop"))
    assert set(found) == {0, 1}
    assert "a.png has 48x40 pixels, less than the crop" in found[0]


def test_mean_std_are_those_of_all_pixels(damaged):
    kept = [0, 1, 4, 7]
    pixels = np.stack([SMALL.image(damaged.samples[k].source) for k in kept]) / 255
    assert mean_std(damaged, SMALL, 0) == pytest.approx((pixels.mean(), pixels.std()), abs=1e-9)


def test_black_images_have_a_std_to_divide_by(tmp_path):
    path = images.put(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    assert mean_std(images.sample_set([0], sources=[path]), SMALL, 0) == pytest.approx((0.0, 1 / 255))


# --- scores come together


@given(
    count=st.integers(1, 60),
    labels=st.integers(1, 4),
    missing=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_gather_puts_every_row_in_its_place(count, labels, missing, order):
    indices = list(range(count))
    order.shuffle(indices)
    kept = np.array(indices[missing:], dtype=np.int64)
    rows = gather(kept, (kept[:, None] + np.arange(labels) / 10).astype(np.float32), count, Process())
    assert rows.shape == (count, labels)
    for image in range(count):
        if image in kept:
            np.testing.assert_allclose(rows[image], image + np.arange(labels) / 10, rtol=1e-6)
        else:
            assert np.isnan(rows[image]).all()


def test_a_image_scored_twice_is_a_bug_that_stops():
    with pytest.raises(RuntimeError, match="1 images were scored more than once"):
        gather(np.array([0, 1, 1]), np.zeros((3, 2), np.float32), 3, Process())


def test_paths_and_ids_are_kept_by_a_subset(good):
    part = good.subset([4, 1], "validation")
    assert (part.ids, part.part) == (["f4", "f1"], "validation")
    assert part.targets[:, 0].tolist() == [0, 1]
    assert isinstance(part.samples[0].source, Path)
