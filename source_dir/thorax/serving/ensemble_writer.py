"""Writes an ensemble: a bundle whose members are bundles, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.models.registry import spec_of
from thorax.serving.bundle import CODE, RAY, SPLIT, Bundle
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_hashes import hashes_of
from thorax.serving.bundle_place import DESCRIPTION
from thorax.serving.bundle_schema import MEMBERS_FOLDER
from thorax.serving.bundle_writer import RAY_CONFIG, copy_code
from thorax.serving.engines.engine_files import FOLDER


def member_folders(count: int) -> list[str]:
    """Where the members of an ensemble are, in its folder."""
    return [f"{MEMBERS_FOLDER}/{k}" for k in range(count)]


def write_ensemble(folder: Path, members: Sequence[Bundle], contents: BundleContents, split_table: str) -> None:
    """Writes an ensemble into a new folder: everything into a hidden one beside it first.

    Args:
        folder: where it goes; nothing may be there.
        members: the bundles, of which all but the serving code goes along.
        contents: what bundle.json says.
        split_table: split.csv of the ensemble.

    Raises:
        ThoraxError: something is there, or the folder cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ThoraxError(f"--out {folder} exists; name a new folder, or remove it")
    stage = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(stage, ignore_errors=True)
        (stage / CODE).mkdir(parents=True)
        for member, place in zip(members, member_folders(len(members)), strict=True):
            _copy(member, stage / place)
        write_whole(split_table.encode(), stage / SPLIT, "ensemble")
        write_whole(RAY_CONFIG, stage / RAY, "ensemble")
        copy_code(stage / CODE)
        if needed := sorted({spec_of(member.network).requirement for member in members} - {""}):
            write_whole("".join(f"{line}\n" for line in needed).encode(), stage / CODE / "requirements.txt", "ensemble")
        contents = replace(contents, files=hashes_of(stage, (MEMBERS_FOLDER, SPLIT, RAY, CODE)))
        write_whole(json.dumps(contents.to_dict(), indent=1).encode(), stage / DESCRIPTION, "ensemble")
        if folder.exists():
            folder.rmdir()
        stage.replace(folder)
    except (OSError, shutil.Error) as error:
        raise ThoraxError(
            f"--out {folder} cannot be written: {getattr(error, 'strerror', None) or error}; free some space or make it"
            " writable"
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _copy(member: Bundle, folder: Path) -> None:
    """All of a bundle but its code, whose hashes go with it: bundle.json is sealed anew."""
    folder.mkdir(parents=True)
    for name in (member.weights.name, SPLIT):
        shutil.copyfile(member.folder / name, folder / name)
    if member.engine is not None and (member.folder / FOLDER).is_dir():
        shutil.copytree(member.folder / FOLDER, folder / FOLDER)
    kept = replace(member, files=hashes_of(folder, (member.weights.name, SPLIT)))
    write_whole(json.dumps(BundleContents.to_dict(kept), indent=1).encode(), folder / DESCRIPTION, "ensemble")
