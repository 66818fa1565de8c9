"""`thorax wheels`: the packages of an isolated job, from an index on this machine and from the real one."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from thorax_launch.cli import wheels

Capture = pytest.CaptureFixture[str]
#: Wheels of an index: what packages are published as, and what would not run in the container.
PUBLISHED = (
    "plain-1.0-py3-none-any.whl",
    "fast-1.0-cp313-cp313-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "fast-2.0-cp313-cp313-macosx_11_0_arm64.whl",
    "fast-3.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    "old-1.0-cp313-cp313-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an index with PUBLISHED, by PEP 503; nothing else is asked."""
    root = tmp_path / "index"
    for name in PUBLISHED:
        package, version = name.split("-")[:2]
        folder = root / package
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / name, "w") as wheel:
            info = f"{package}-{version}.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
            wheel.writestr(f"{info}/RECORD", "")
    handler = partial(_Quiet, directory=str(root))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_wheels_for_the_container_whatever_runs_here(index: str, tmp_path: Path, capsys: Capture) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("plain>=1\nfast>=1\nold\n")
    words = [str(tmp_path / "wheels"), "--requirements", str(requirements), "--index-url", index]
    assert wheels.main(words) == 0
    assert "3 wheels" in capsys.readouterr().out
    names = {file.name for file in (tmp_path / "wheels").iterdir()}
    assert names == {PUBLISHED[0], PUBLISHED[1], PUBLISHED[4]}


def test_a_package_without_a_wheel_is_one_line(index: str, tmp_path: Path, capsys: Capture) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("fast>=2\n")
    assert wheels.main([str(tmp_path / "w"), "--requirements", str(requirements), "--index-url", index]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: pip cannot fetch the wheels of {requirements}: ")
    assert message.count("\n") == 1
    assert wheels.main([str(tmp_path / "w"), "--requirements", str(tmp_path / "none.txt")]) == 1
    assert "none.txt does not exist; give --requirements FILE" in capsys.readouterr().err


@pytest.mark.slow
def test_the_documented_command_with_the_real_index(tmp_path: Path, capsys: Capture) -> None:
    """The wheels are whole: pip resolves requirements.txt from them and from nowhere else."""
    if subprocess.run([sys.executable, "-m", "pip", "index", "versions", "tqdm"], capture_output=True).returncode:
        pytest.skip("no package index can be reached")
    assert wheels.main([str(tmp_path / "wheels")]) == 0
    from thorax_launch import wheels as command
    from thorax_launch.paths import source_dir

    alone = ["--no-index", "--find-links", str(tmp_path / "wheels")]
    words = command.command(source_dir() / "requirements.txt", tmp_path / "again", more=alone)
    assert subprocess.run(words, check=False).returncode == 0
