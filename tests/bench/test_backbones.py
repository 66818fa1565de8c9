"""bench/backbones.py in small: what it counts is right, and its table has a row for each network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

Capture = pytest.CaptureFixture[str]


def test_a_table_of_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "bench"))
    import backbones

    monkeypatch.setattr(backbones, "SIZE", 64)
    threads = torch.get_num_threads()
    try:
        assert backbones.main(["shufflenet_v2_x0_5", "--seconds", "0", "--json", str(tmp_path / "n.json")]) == 0
    finally:
        torch.set_num_threads(threads)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == ["resnet18", "shufflenet_v2_x0_5"]
    resnet, shuffle = json.loads((tmp_path / "n.json").read_text())
    # torchvision's ResNet-18 has 11.69 M for 3 channels and 1000 labels, and 1.814 G multiplications at 224 px.
    assert resnet["parameters"] == pytest.approx(11.689512 - (1000 - 14) * 513e-6 - 2 * 64 * 49e-6, abs=1e-4)
    assert 2 * 1.814 * (64 / 224) ** 2 * 0.9 < resnet["gflops"] < 2 * 1.814 * (64 / 224) ** 2
    assert shuffle["parameters"] < 0.4 and all(one["throughput"] > 0 for one in (resnet, shuffle))
