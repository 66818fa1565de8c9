"""What the tests of the Trainer share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from thorax.data.samples import SampleSet
from trainers import some_images


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def train(images: Path, one_thread: None) -> SampleSet:
    """A few images, worked on by one thread."""
    return some_images(images)
