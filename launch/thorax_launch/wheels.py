"""The packages of a job without a network: those of requirements.txt as wheels for the image's Linux and Python."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from thorax.errors import ThoraxError
from thorax_launch import locks

#: Python of AWS's default image.
PYTHON = "3.13"
#: AWS's image is Ubuntu 22.04, glibc 2.35, which runs wheels of every older tag; pip matches tags by name alone, so
#: each that packages are published under is named.
PLATFORMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in (35, 34, 31, 28, 27, 26, 24, 17, 12, 5)) + (
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"),
)


def command(requirements: Path, folder: Path, python: str = PYTHON, more: Sequence[str] = ()) -> list[str]:
    """Words of the pip command that fetches them.

    Args:
        requirements: a requirements.txt.
        folder: where the wheels go.
        python: version of the container's Python.
        more: further words for pip, such as an index.
    """
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    words += ["--requirement", str(requirements), "--dest", str(folder), "--only-binary", ":all:"]
    words += [word for platform in PLATFORMS for word in ("--platform", platform)]
    return [*words, "--python-version", python, "--implementation", "cp", *more]


def fetch(requirements: Path, folder: Path, python: str = PYTHON, more: Sequence[str] = ()) -> list[Path]:
    """Fetches the wheels, those that they need too; what is there already is not fetched again.

    Raises:
        ThoraxError: there is no requirements.txt, no pip, or pip's own reason.
    """
    if not requirements.is_file():
        raise ThoraxError(f"{requirements} does not exist; give --requirements FILE")
    done = subprocess.run(command(requirements, folder, python, more), capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise ThoraxError(f"pip cannot fetch the wheels of {requirements}: {reason.removeprefix('ERROR: ')}")
    return sorted(folder.glob("*.whl"))


def fetch_locked(
    requirements: Path, folder: Path, extra: Sequence[str], python: str = PYTHON, more: Sequence[str] = ()
) -> list[Path]:
    """As fetch, of the exact versions of the lock file for that Python, each compared with its hash.

    Args:
        extra: further lines of requirements.txt.

    Raises:
        ThoraxError: see fetch and locks.locked.
    """
    if not requirements.is_file():
        raise ThoraxError(f"{requirements} does not exist; give --requirements FILE")
    asked = "\n".join([requirements.read_text(encoding="utf-8"), *extra])
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "requirements.txt"
        file.write_text(locks.locked(asked, python), encoding="utf-8")
        return fetch(file, folder, python, ["--no-deps", *more])  # the lock has all that they need but the image's
