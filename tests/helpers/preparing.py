"""prepare.py as a user starts it, and what it leaves."""

from __future__ import annotations

import csv
from pathlib import Path

import images
from thorax_launch.cli import prepare

SCRIPT = Path(__file__).resolve().parents[2] / "launch" / "prepare.py"


def sixteen_images(root: Path) -> Path:
    """16 images of 8 patients in two classes, JPEG and PNG, upright and not square."""
    for n in range(16):
        name = f"{'NORMAL' if n % 4 < 2 else 'PNEUMONIA'}/person{n // 2}_{n}.{'png' if n % 3 else 'jpeg'}"
        images.put(root / name, images.grey(60, 48 + n, seed=n))
    return root


def run(*words: object) -> int:
    return prepare.main([str(word) for word in words])


def refused(capsys, *words: object) -> str:
    """The one line that a mistake gives."""
    capsys.readouterr()
    assert run(*words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))
