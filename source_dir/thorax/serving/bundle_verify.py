"""Every file of a bundle against its hash, and the bundle against its signature."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from thorax.files import digest_of, files_below, write_whole
from thorax.models.bundle_weights import weights_of_bundle
from thorax.serving.bundle import CODE, RAY, SPLIT, Bundle
from thorax.serving.bundle_hashes import FILES, SEAL, changed, hashes_of, sealed
from thorax.serving.bundle_place import DESCRIPTION
from thorax.serving.bundle_schema import MEMBERS_FOLDER as MEMBERS
from thorax.serving.bundle_signature import wrong_signature
from thorax.serving.engines.engine_files import FOLDER


def wrong(bundle: Bundle, key: bytes | None = None) -> list[str]:
    """What is not as it was when the bundle was written, a line each; empty where all is.

    Args:
        bundle: loaded, so that its bundle.json is whole.
        key: whose signature it must have; None: none.
    """
    found = list(_wrong_files(bundle))
    if key is not None and (reason := wrong_signature(bundle.folder, key)):
        found.append(reason)
    return found


def checked(bundle: Bundle) -> int:
    """How many of its files have a hash."""
    return len(_hashes(bundle))


def seal_of(bundle: Bundle) -> str:
    """SHA-256 of its bundle.json, which has those of all its files; "" where an earlier version wrote it without."""
    return str(json.loads((bundle.folder / DESCRIPTION).read_text(encoding="utf-8")).get(SEAL, ""))


def seal(folder: Path) -> int:
    """Writes the hashes of the files as they are now, whatever they were; returns how many files they are of."""
    stored = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    files = hashes_of(folder, (MEMBERS if stored.get("ensemble") else weights_of_bundle(folder).name, SPLIT, RAY, CODE))

    if stored.get("engine"):
        stored["engine"]["files"] = hashes_of(folder, stored["engine"]["files"])
        files_of_engine = len(stored["engine"]["files"])
    else:
        files_of_engine = 0
    described = json.dumps(sealed({**stored, FILES: files}), indent=1)
    write_whole(described.encode(), folder / DESCRIPTION, "bundle")
    return len(files) + files_of_engine


def _hashes(bundle: Bundle) -> dict[str, str]:
    return bundle.files | (bundle.engine.files if bundle.engine else {})


def _wrong_files(bundle: Bundle) -> Iterator[str]:
    known = _hashes(bundle)
    for name, wanted in known.items():
        if line := changed(name, wanted, digest_of(bundle.folder / name)):
            yield line
    if bundle.files:
        for folder in (CODE, FOLDER, MEMBERS):
            for file in files_below(bundle.folder / folder) if (bundle.folder / folder).is_dir() else ():
                if f"{folder}/{file}" not in known and not file.endswith(".pyc"):
                    yield f"{folder}/{file} was added since"
