"""Precision, layout and threads that a run chooses: by the clock, safely, once, and the same when it is resumed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch
from torch import nn

from runs import equal
from thorax.config import TrainingConfig
from thorax.data.parts import preprocessing
from thorax.training import compute, probe
from thorax.training.compute import CACHE, Memory, choose
from thorax.training.inputs import Hardware, TrainingData
from thorax.training.probe import Compute
from trainers import PLAIN, TinyNet, copied, some_images

SLOW = 0.05  #: seconds that a slow step sleeps: far more than the network takes


class SlowNet(nn.Module):
    """Too small for a second thread; takes its time wherever `slow(images)` says so."""

    def __init__(self, slow: Any = lambda x: False) -> None:
        super().__init__()
        self.slow, self.linear = slow, nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(SLOW if self.slow(x) else 0)
        logits: torch.Tensor = self.linear(x.mean((1, 2, 3)).unsqueeze(1))
        return logits


class Cancelling(SlowNet):
    """Fast in bfloat16, and wrong: 4096 swallows what is added to it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dtype = torch.bfloat16 if in_bfloat16() else torch.float32
        return super().forward(x) + ((torch.full((1,), 4096.0, dtype=dtype) + 1.0) - 4096.0)


def in_bfloat16(_: Any = None) -> bool:
    return torch.is_autocast_enabled("cpu")


@pytest.fixture(autouse=True)
def worth_measuring(monkeypatch):
    monkeypatch.setattr(compute, "WORTH_MEASURING", 1)
    monkeypatch.setattr(probe, "SHORT_RUN", 0.0)


@pytest.fixture
def data(images) -> TrainingData:
    train = some_images(images)
    return TrainingData(train, train, preprocessing(TrainingConfig(**PLAIN)))


def chosen(net: nn.Module, data: TrainingData, memory: Memory | None = None, **settings: Any) -> tuple[Compute, str]:
    """What is chosen on two threads, and why."""
    config = TrainingConfig(**{**PLAIN, "image_shape": (1, 32, 32), **settings})
    hardware, reason = choose(config, net, data, Hardware(threads=2), memory or Memory(lambda: None))
    return Compute.of(hardware), reason


@pytest.mark.parametrize(
    ("slow", "precision"), [(lambda x: not in_bfloat16(), "bfloat16"), (lambda x: in_bfloat16(), "float32")]
)
def test_the_faster_precision_is_taken(data, slow, precision):
    found, reason = chosen(SlowNet(slow), data)
    assert found.precision == precision
    assert "images/s" in reason and "measured in" in reason and "of 8 images at 32 px" in reason


@pytest.mark.parametrize(("slow", "threads"), [(2, 1), (1, 2)])
def test_fewer_threads_are_taken_only_where_they_are_faster(data, slow, threads):
    found, _ = chosen(SlowNet(lambda x: torch.get_num_threads() == slow), data, precision_dtype="float32")
    assert found.threads == threads


@pytest.mark.parametrize("faster", [True, False])
def test_the_faster_layout_is_taken(data, faster):
    def slow(x: torch.Tensor) -> bool:
        return x.is_contiguous(memory_format=torch.channels_last) != faster

    found, _ = chosen(SlowNet(slow), data, image_shape=(3, 32, 32), precision_dtype="float32", threads=2)
    assert found.channels_last == faster


def test_a_fast_precision_with_another_loss_is_not_taken(data):
    found, reason = chosen(Cancelling(lambda x: not in_bfloat16()), data)
    assert found.precision == "float32"
    assert "bfloat16" in reason and "unsafe: loss" in reason


def test_what_is_asked_for_is_not_measured(data):
    net = SlowNet(lambda x: pytest.fail("it was run"))
    found, reason = chosen(net, data, precision_dtype="float32", channels_last=False, threads=2)
    assert (found, reason) == (Compute("float32", False, 2), "as asked for")


def test_a_measurement_leaves_no_trace(data):
    net = TinyNet()
    before, threads = copied(net), torch.get_num_threads()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    chosen(nn.Sequential(nn.Dropout(0.5), net), data, threads=1)
    assert equal(copied(net), before) and torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads and net.training
    assert all(p.grad is None for p in net.parameters())


def test_a_short_run_is_not_measured(data, monkeypatch):
    monkeypatch.setattr(compute, "WORTH_MEASURING", 2**22)
    found, reason = chosen(SlowNet(lambda x: pytest.fail("it was run")), data)
    assert found == Compute("float32", True, 2)
    assert reason == "not measured: a run of 0.1 million pixels is too short"


def test_a_run_whose_steps_take_seconds_is_not_measured_and_nothing_is_remembered_of_it(data, monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "SHORT_RUN", 1000.0)
    found, reason = chosen(SlowNet(lambda x: not in_bfloat16()), data, Memory(lambda: None, tmp_path))
    assert found == Compute("float32", True, 2)
    assert reason.startswith("not measured: the run's steps take about ") and not list(tmp_path.iterdir())


# -- What is remembered --------------------------------------------------------------------------------------------


def test_a_choice_is_remembered_for_the_same_network_and_batch(data, tmp_path):
    memory = Memory(lambda: None, tmp_path / "cache")
    first, _ = chosen(SlowNet(lambda x: not in_bfloat16()), data, memory)
    again, reason = chosen(SlowNet(lambda x: pytest.fail("it was run")), data, memory)
    assert again == first and reason == f"remembered in {tmp_path / 'cache' / CACHE}"
    _, reason = chosen(SlowNet(), data, memory, batch_size=4)
    assert "measured in" in reason


@pytest.mark.parametrize("content", ["{", "[]", '{"KEY": {"precision": 3}}'])
def test_a_broken_cache_is_ignored_and_written_again(data, tmp_path, content):
    memory = Memory(lambda: None, tmp_path)
    first, _ = chosen(SlowNet(lambda x: not in_bfloat16()), data, memory)
    key = next(iter(json.loads((tmp_path / CACHE).read_text())))
    (tmp_path / CACHE).write_text(content.replace("KEY", key.replace("\\", "\\\\")))
    again, reason = chosen(SlowNet(lambda x: not in_bfloat16()), data, memory)
    assert again.precision == first.precision and "measured in" in reason
    assert key in json.loads((tmp_path / CACHE).read_text())


def test_a_cache_that_cannot_be_written_is_no_error(data, tmp_path):
    (tmp_path / "file").write_text("")
    found, reason = chosen(SlowNet(lambda x: not in_bfloat16()), data, Memory(lambda: None, tmp_path / "file"))
    assert found.precision == "bfloat16" and "measured in" in reason


# -- A resumed run -------------------------------------------------------------------------------------------------


def test_a_resumed_run_keeps_its_checkpoints_choice_and_says_what_it_would_choose(data):
    saved = {"precision": "float32", "channels_last": False, "threads": 1}
    found, reason = chosen(SlowNet(lambda x: not in_bfloat16()), data, Memory(lambda: saved))
    assert found == Compute("float32", False, 1)
    assert reason.startswith("as in the checkpoint, for the same bits; here bfloat16, ")


def test_an_older_checkpoint_means_channels_last_and_all_threads(data):
    found, _ = chosen(SlowNet(in_bfloat16), data, Memory(lambda: {"precision": "bfloat16"}))
    assert found == Compute("bfloat16", True, 2)


def test_float16_of_a_gpu_cannot_go_on_on_a_cpu(data):
    with pytest.raises(Exception, match="checkpoint was made in float16"):
        chosen(SlowNet(), data, Memory(lambda: {"precision": "float16"}))


def test_what_is_asked_for_wins_over_the_checkpoint(data):
    saved = {"precision": "float32", "channels_last": True, "threads": 2}
    found, _ = chosen(SlowNet(), data, Memory(lambda: saved), channels_last=False)
    assert not found.channels_last
