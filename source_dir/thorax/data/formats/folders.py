"""Folder per class: CHANNEL/NORMAL/*.jpeg, CHANNEL/PNEUMONIA/*.jpeg. Patients are read from the file names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from thorax.data.images import EXTENSIONS
from thorax.data.patients import patient_of
from thorax.data.samples import Listing
from thorax.errors import ThoraxError

NAME = "folder"


def finds(folder: Path) -> str:
    """What it saw: at least one sub-folder with a film, or several sub-folders and no table.

    One sub-folder beside a table holds the table's films: one class would be none.
    """
    classes = _classes(folder)
    if len(classes) == 1 and any(folder.glob("*.csv")):
        return ""
    if any(_films(c) for c in classes) or (len(classes) > 1 and not any(folder.glob("*.csv"))):
        return f"class folders ({', '.join(c.name for c in classes[:4])}{', ...' if len(classes) > 4 else ''})"
    return ""


def read(folder: Path) -> Listing:
    """Films of every class folder, sorted by class and name; sub-folders of a class belong to it.

    Raises:
        ThoraxError: one class only, or a class without films.
    """
    classes = _classes(folder)
    found = {c.name: _films(c) for c in classes}
    empty = [name for name, films in found.items() if not films]
    if empty:
        raise ThoraxError(f"class folder {folder / empty[0]} has no JPEG or PNG films; fill it or remove it")
    if len(found) < 2:
        raise ThoraxError(f"{folder} has one class folder only ({', '.join(found)}); a classifier needs two or more")
    names = tuple(found)
    paths = [path for films in found.values() for path in films]
    ids = [path.relative_to(folder).as_posix() for path in paths]
    targets = np.repeat(np.eye(len(names), dtype=np.float32), [len(films) for films in found.values()], axis=0)
    return Listing(names, ids, paths, targets, [patient_of(i) for i in ids], exclusive=True)


def _classes(folder: Path) -> list[Path]:
    return sorted(e for e in folder.iterdir() if e.is_dir() and not e.name.startswith((".", "__")))


def _films(folder: Path) -> list[Path]:
    films, seen = [], set()
    for root, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(root)) in seen:  # a link back, or a second one to the same films
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        films += [Path(root) / name for name in files if Path(name).suffix.lower() in EXTENSIONS and not name.startswith(".")]
    return sorted(films)
