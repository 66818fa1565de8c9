"""Locked requirements: the exact versions and hashes of what a job installs, by the Python of AWS's image.

`make locks` writes them (launch/locks/py313.txt ...) from source_dir/requirements.txt and job_requirements.OPTIONAL.
torch, torchvision and what they alone need are not in them: the image holds these, and pip asks no hash of what is
installed already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from thorax.errors import ThoraxError
from thorax_launch.job_requirements import OPTIONAL, package_of
from thorax_launch.paths import LOCKS

#: Python of AWS's images -> the images: of launch/thorax_launch/sagemaker (training_jobs.TORCH, hosting.SERVERS).
IMAGES = {"3.13": "PyTorch 2.10 training and Ray Serve", "3.12": "PyTorch 2.6 (TorchServe)"}
#: What the images hold.
HELD = ("torch", "torchvision")


@dataclass(frozen=True)
class Locked:
    """One package.

    Attributes:
        pin: NAME==VERSION, with its marker where it has one.
        hashes: sha256:... of its files.
        needed_by: packages that need it; empty where a requirement names it.
    """

    pin: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]

    def text(self) -> str:
        """As pip reads it, with who needs it in a comment."""
        lines = [self.pin, *(f"    --hash={one}" for one in self.hashes)]
        via = [f"    # via {', '.join(self.needed_by)}"] if self.needed_by else []
        return "\n".join([" \\\n".join(lines), *via]) + "\n"


def parse(text: str) -> dict[str, Locked]:
    """Package -> what a lock file has of it; also of what uv and pip-compile write.

    Raises:
        ThoraxError: a line that is neither a pin, a hash nor a comment, or a package without a hash.
    """
    found: dict[str, Locked] = {}
    name, pin = "", ""
    hashes: list[str] = []
    via: list[str] = []

    def done() -> None:
        if name and not hashes:
            raise ThoraxError(f"a lock file's {name} has no hash; write it anew: make locks")
        if name:
            found[name] = Locked(pin, tuple(hashes), tuple(via))

    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip().removesuffix("\\").strip()
        if re.fullmatch(r"[A-Za-z0-9][\w.-]*==\S+( ;.*)?", words):
            done()
            name, pin, hashes, via = package_of(words), words, [], []
        elif match := re.fullmatch(r"--hash=(sha256:[0-9a-f]{64})", words):
            hashes.append(match[1])
        elif words.startswith("#") and line[0] == " ":
            via += [package_of(one) for one in words.lstrip("# ").removeprefix("via").split(",")]
            via = [one for one in via if one]
        elif words and not words.startswith("#"):
            raise ThoraxError(f"line {number} of a lock file is no pin: {words[:60]}; write it anew: make locks")
    done()
    return found


def closure(locked: Mapping[str, Locked], roots: Iterable[str]) -> dict[str, Locked]:
    """The packages of these names and all that they need, but HELD and what these alone need; sorted.

    Raises:
        ThoraxError: one of the names is not locked.
    """
    needs: dict[str, list[str]] = {}
    for name, one in locked.items():
        for parent in one.needed_by:
            needs.setdefault(parent, []).append(name)
    found, waiting = set(), list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name in HELD:
            continue
        if name not in locked:
            raise ThoraxError(f"{name} is not in the lock file; write it anew: make locks; or leave --locked out")
        found.add(name)
        waiting += needs.get(name, [])
    return {name: locked[name] for name in sorted(found)}


def roots(requirements: str) -> list[str]:
    """The packages that a requirements.txt names."""
    return [name for line in requirements.splitlines() if (name := package_of(line))]


def wanted(requirements: str) -> list[str]:
    """All lines that a lock file is made of: those of every job, and those that some jobs need."""
    return [line for line in requirements.splitlines() if package_of(line)] + list(OPTIONAL.values())


def file_of(python: str) -> Path:
    """The lock file for that Python."""
    return LOCKS / f"py{python.replace('.', '')}.txt"


def locked(requirements: str, python: str) -> str:
    """A requirements.txt with exact versions and hashes in the place of bounds.

    Raises:
        ThoraxError: there is no lock file for that Python, or it lacks a package.
    """
    file = file_of(python)
    try:
        known = parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ThoraxError(f"--locked: {file} cannot be read: {error.strerror}; write it: make locks") from None
    return "--require-hashes\n" + "".join(one.text() for one in closure(known, roots(requirements)).values())
