"""A bundle as `write_bundle` leaves it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from written_bundles import network, write


@pytest.fixture(scope="session")
def net() -> torch.nn.Module:
    return network(1)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, net: torch.nn.Module) -> Path:
    """A bundle that tests must not change."""
    folder = tmp_path_factory.mktemp("bundle") / "model"
    write(folder, net)
    return folder


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    """The bundle without its code, to be damaged; the weights are a link."""
    for name in ("bundle.json", "split.csv"):
        shutil.copy(bundle / name, tmp_path / name)
    (tmp_path / "model.safetensors").symlink_to(bundle / "model.safetensors")
    return tmp_path


@pytest.fixture
def small() -> torch.nn.Module:
    """Not a network that could be served, but quick to write."""
    return torch.nn.Linear(2, 1)
