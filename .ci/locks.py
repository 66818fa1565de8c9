"""Writes launch/locks/: the exact versions and hashes of what jobs install, for each Python of AWS's images.

Needs uv (https://docs.astral.sh/uv/) and a package index, which uv's own settings name: no address gets into the files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from thorax_launch import locks

ROOT = Path(__file__).resolve().parents[1]


def resolved(requirements: str, python: str) -> str:
    """What uv resolves for that Python on Linux, from wheels alone."""
    with tempfile.TemporaryDirectory() as folder:
        asked, bounds = Path(folder) / "requirements.in", Path(folder) / "image.txt"
        asked.write_text("\n".join(locks.wanted(requirements)) + "\n")
        bounds.write_text("torch==2.10.*\ntorchvision==0.25.*\n" if python == "3.13" else "torch==2.6.*\n")
        words = ["uv", "pip", "compile", str(asked), "--constraint", str(bounds), "--quiet", "--no-header"]
        words += ["--generate-hashes", "--only-binary", ":all:", "--no-emit-index-url", "--no-emit-find-links"]
        words += ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
        return subprocess.run(words, check=True, capture_output=True, text=True, cwd=folder).stdout


def main() -> int:
    requirements = (ROOT / "source_dir/requirements.txt").read_text(encoding="utf-8")
    for python, images in locks.IMAGES.items():
        found = locks.parse(resolved(requirements, python))
        kept = locks.closure(found, locks.roots("\n".join(locks.wanted(requirements))))
        head = f"# Python {python} on Linux, AWS's images of {images}: written by `make locks`.\n"
        file = locks.file_of(python)
        file.parent.mkdir(exist_ok=True)
        file.write_text(head + "".join(one.text() for one in kept.values()), encoding="utf-8")
        print(f"{file.relative_to(ROOT)}: {len(kept)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
