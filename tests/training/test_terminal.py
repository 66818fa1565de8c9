"""On a terminal a run shows a bar; elsewhere whole lines, see test_run.py."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

from conftest import clean_environment, command


def test_a_bar_on_a_terminal(images: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        command(images, tmp_path / "model", epochs="1", batch_size="2"),
        stdout=theirs,
        stderr=theirs,
        env=clean_environment(),
    )
    os.close(theirs)
    seen = b""
    try:
        while block := os.read(ours, 4096):
            seen += block
    except OSError:  # the terminal is gone when the process ends
        pass
    os.close(ours)
    assert process.wait() == 0
    assert b"\repoch 1/1 |" in seen
    assert b"\r\nbest: epoch 1 of 1  loss " in seen
    assert b"configuration: differs from the defaults in\r\n  network            cnn5  (default: resnet50)\r\n" in seen
    assert b"configuration: {" not in seen
    assert b"\r" in seen.replace(b"\r\n", b"\n"), "a bar redraws its line"
    assert b" images/s, loss " in seen and b" left" in seen
