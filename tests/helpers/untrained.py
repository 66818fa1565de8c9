"""A bundle that was never trained, for tests of what is done with bundles."""

from __future__ import annotations

from pathlib import Path

import torch

import images as make
from thorax.data.images import Preprocessing
from thorax.labels import LabelSpace
from thorax.models import build
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_writer import write_bundle

SOURCE = Path(__file__).resolve().parents[2] / "source_dir"


def untrained(folder: Path, space: LabelSpace = make.BINARY, seed: int = 0, split: str = "id,patient,part\n") -> Path:
    """Writes it to `folder` with this split.csv, and returns the folder."""
    torch.manual_seed(seed)
    net = build("cnn5", 1, len(space.outputs), 0.0).eval()
    contents = BundleContents(
        network="cnn5",
        space=space,
        preprocessing=Preprocessing(32, 32),
        thresholds=dict.fromkeys(space.outputs, 0.5),
        configuration={"threshold_rule": "youden"},
        split={"sha256": "ab"},
    )
    write_bundle(folder, net, contents, split, SOURCE)
    return folder
