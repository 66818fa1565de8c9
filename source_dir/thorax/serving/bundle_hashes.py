"""What the files of a bundle were when it was written: their SHA-256 in bundle.json, which is sealed by one of its own.

Bytes that change on a disk or on the way are found by them. Whoever changes a file on purpose can write the hashes anew
(`thorax verify --seal`); that nobody did is what a signature says (serving/bundle_signature.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from thorax.files import digest_of, files_below

SEAL, FILES = "sha256", "files_sha256"


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 by path with "/", of the named files and of all files below the named folders; sorted."""
    found: list[str] = []
    for name in names:
        if (folder / name).is_dir():
            found += [f"{name}/{file}" for file in files_below(folder / name) if not file.endswith(".pyc")]
        elif (folder / name).is_file():
            found.append(name)
    return {name: digest_of(folder / name) for name in sorted(found)}


def sealed(described: dict[str, Any]) -> dict[str, Any]:
    """The content of a bundle.json with the SHA-256 of all the rest of it: as JSON, keys sorted, without spaces."""
    rest = {key: value for key, value in described.items() if key != SEAL}
    return {**rest, SEAL: sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()}


def check_seal(described: dict[str, Any]) -> None:
    """Raises ValueError where a bundle.json that has a seal is not what was sealed."""
    if SEAL in described and sealed(described)[SEAL] != described[SEAL]:
        raise ValueError(
            "its content is not what was written: changed by hand (then `thorax verify --seal` accepts it) or damaged"
        )


def changed(name: str, wanted: str, found: str) -> str:
    """What is wrong with a file whose SHA-256 is `found`, and was `wanted`; "" where nothing is."""
    if found == wanted:
        return ""
    if not found:
        return f"{name} is missing or cannot be read"
    return f"{name} is damaged: its sha256 is {found[:16]}..., and was {wanted[:16]}... when it was written"
