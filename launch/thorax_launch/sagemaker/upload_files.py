"""Which files of a folder are sent to S3."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.files import files_below


def files_to_upload(folder: Path, exclude: Sequence[str] = ()) -> dict[str, Path]:
    """Path below the folder -> file, sorted; links are followed, hidden files and folders left out, and paths that fit
    a pattern of `exclude`.

    Raises:
        ThoraxError: a link leads nowhere.
    """
    names = sorted(files_below(folder), key=lambda name: name.split("/"))
    files = {name: folder / name for name in names if not any(fnmatch(name, pattern) for pattern in exclude)}
    for path in files.values():
        if path.is_symlink() and not path.exists():
            raise ThoraxError(f"{path} is a link to {path.readlink()}, which is not there; fix or remove the link")
    return {name: path for name, path in files.items() if path.is_file()}
