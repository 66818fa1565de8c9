"""A small bundle that a test writes, and the line by which a damaged one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import images
from thorax.data.images import Preprocessing
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.models import build
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_hashes import sealed
from thorax.serving.bundle_writer import write_bundle
from thorax.serving.classifier import Classifier

ROOT = Path(__file__).resolve().parents[2]
THREE = LabelSpace(("bacterial", "normal", "viral"), "multiclass")
PREPARED = Preprocessing(32, 40)
THREE_CHANNELS = replace(PREPARED, channels=3)
FACTS = {
    "configuration": {"network": "cnn5", "epochs": 2},
    "split": {"sha256": "ab" * 32},
    "metrics": {"validation": {"auc": 0.9}},
}
SPLIT = "id,patient,part\nf0,p0,train\n"


def network(outputs: int, dropout: float = 0.0, name: str = "cnn5", channels: int = 1) -> torch.nn.Module:
    torch.manual_seed(outputs)
    net = build(name, channels, outputs, dropout)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


def telling_network(outputs: int, channels: int) -> torch.nn.Module:
    """One whose answers differ from image to image."""
    net = network(outputs, channels=channels)
    with torch.no_grad():
        next(m for m in reversed(list(net.modules())) if isinstance(m, torch.nn.Linear)).weight.mul_(100)
    return net


def write(
    folder: Path, net: torch.nn.Module, space: LabelSpace = images.BINARY, prepared: Preprocessing = PREPARED, **more
) -> None:
    values = {"network": "cnn5", "thresholds": dict.fromkeys(space.outputs, 0.4), **FACTS, **more}
    contents = BundleContents(space=space, preprocessing=prepared, **values)
    write_bundle(folder, net, contents, SPLIT, ROOT / "source_dir")


def described(folder: Path, **changes) -> None:
    """Changes fields of bundle.json, which is sealed again; None removes one."""
    stored = json.loads((folder / "bundle.json").read_text())
    for key, value in changes.items():
        stored[key] = value
        if value is None:
            del stored[key]
    (folder / "bundle.json").write_text(json.dumps(sealed(stored)))


def refused(folder: Path) -> str:
    with pytest.raises(ThoraxError) as caught:
        Classifier.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)
