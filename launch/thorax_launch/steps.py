"""How a pipeline's check and evaluation are called, so that they read the images as its training does.

The words are those of `python -m thorax.dataset` and `python -m thorax.scoring`, here and on AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from thorax.config import TrainingConfig

#: Channels with images, and those with their lists.
PARTS = ("train", "validation", "test")
LISTS = tuple(f"{part}_lst" for part in PARTS)


def check(hyperparameters: Mapping[str, str], channels: Mapping[str, str | Path]) -> list[str]:
    """Words for `python -m thorax.dataset` that check those channels that have images or lists."""
    config = TrainingConfig.parse(dict(hyperparameters))
    names = [name for name in (*PARTS, *LISTS) if name in channels]
    places = [word for name in names for word in (f"--{name.replace('_', '-')}", str(channels[name]))]
    scope = [] if config.patient_scope == "global" else ["--patient-scope", config.patient_scope]
    return ["check", *places, *_reading(config), *scope]


def evaluate(hyperparameters: Mapping[str, str], bundle: str | Path, channels: Mapping[str, str | Path]) -> list[str]:
    """Words for `python -m thorax.scoring` that score a bundle on the channel test."""
    lists = ["--data-lst", str(channels["test_lst"])] if "test_lst" in channels else []
    reading = _reading(TrainingConfig.parse(dict(hyperparameters)))
    return [str(bundle), "--data", str(channels["test"]), *lists, *reading]


def _reading(config: TrainingConfig) -> list[str]:
    named = [] if config.data_format == "auto" else ["--data-format", config.data_format]
    return [*named, *([f"--labels={','.join(config.labels)}"] if config.labels else [])]
