"""On a terminal a run shows a bar; elsewhere whole lines, see test_run.py."""

from __future__ import annotations

from pathlib import Path

from conftest import clean_environment, command
from terminal import on_terminal


def test_a_bar_on_a_terminal(images: Path, tmp_path: Path) -> None:
    code, seen = on_terminal(command(images, tmp_path / "model", epochs="1", batch_size="2"), clean_environment())
    assert code == 0
    assert "\repoch 1/1 |" in seen
    assert "\r\nbest: epoch 1 of 1  loss " in seen
    assert "configuration: differs from the defaults in\r\n  network            cnn5  (default: resnet50)\r\n" in seen
    assert "configuration: {" not in seen
    assert "\r" in seen.replace("\r\n", "\n"), "a bar redraws its line"
    assert " images/s, loss " in seen and " left" in seen
