"""A run that starts from weights of others says what fitted, and takes the head along by label."""

from __future__ import annotations

import json

import pytest
import torch

from conftest import TINY
from thorax import Bundle, train
from thorax.errors import ThoraxError
from thorax.models import build


@pytest.fixture
def file(tmp_path):
    """A checkpoint of Lightning's form with three labels, of images normalized as the metadata would say."""
    torch.manual_seed(5)
    state = {f"model.{name}": value for name, value in build("cnn5", 3, 3).state_dict().items()}
    torch.save({"state_dict": state, "classes": ["Mass", "pneumonia", "Edema"]}, tmp_path / "w.ckpt")
    return tmp_path / "w.ckpt"


@pytest.mark.usefixtures("signals_as_before")
def test_the_log_says_what_fitted(images, file, tmp_path, capsys):
    config = {**TINY, "epochs": "1", "learning_rate": "0.0000001"}
    result = train(config, train=images / "train", weights=file, output=tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    assert (
        "weights: first layer " + next(line for line in lines if "first layer" in line).partition("first layer ")[2]
        in lines
    )
    assert [line for line in lines if line.startswith("weights: head ")] == [
        "weights: head fc.weight, fc.bias: by name PNEUMONIA"
    ]
    (loaded,) = [line for line in lines if line.startswith("weights: loaded from")]
    assert loaded.startswith(f"weights: loaded from {file}: ") and loaded.endswith(" tensors fit")
    stored = torch.load(file, weights_only=True)["state_dict"]
    kept = Bundle.load(result.bundle).build_network().state_dict()
    torch.testing.assert_close(kept["fc.bias"], stored["model.fc.bias"][[1]], atol=1e-4, rtol=0)
    assert json.loads((tmp_path / "run" / "model" / "bundle.json").read_text())["labels"]["classes"][1] == "PNEUMONIA"


def test_other_networks_weights_are_refused_before_images_are_read(images, tmp_path):
    torch.save(build("resnet18", 1, 2).state_dict(), tmp_path / "w.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ThoraxError, match=r"w\.pt does not fit the network: 0 of \d+ tensors fit"):
        train(TINY, train=tmp_path / "empty", weights=tmp_path / "w.pt", output=tmp_path / "run")
