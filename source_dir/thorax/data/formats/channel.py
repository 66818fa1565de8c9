"""A channel on disk: listed once, and asked by every format. Names are relative to its folder, with "/"."""

from __future__ import annotations

import difflib
import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from thorax.data.decoders import is_image
from thorax.data.formats.table_options import NO_OPTIONS, TableOptions
from thorax.errors import ThoraxError
from thorax.files import files_below

#: Names that an error lists at most.
EXAMPLES = 5
#: What an image may be, for errors.
KINDS = "JPEG, PNG, TIFF or DICOM"
#: What a split column, a folder or a file name calls a part -> the part.
PARTS = {
    **dict.fromkeys(("train", "training", "train_val", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class ReadOptions:
    """What a user says about formats; see the hyperparameters of the same names."""

    labels: tuple[str, ...] = ()
    num_classes: int | None = None
    label_format: str = "auto"
    attribute_names: tuple[str, ...] = ()
    count_crowds: bool = True
    table: TableOptions = NO_OPTIONS
    images: bool = True  #: look for the images; False: take those of a table as if they were there


class Channel:
    """One channel's folder, the options, and perhaps a companion folder with its .lst (train_lst beside train).

    Of several tables in the folder, `table` is the one that is meant: files with its ending beside it are passed over.
    """

    def __init__(self, folder: Path, options: ReadOptions, lists: Path | None = None, table: str = "") -> None:
        self.folder, self.options, self.lists, self.table = folder, options, lists, table

    @cached_property
    def _entries(self) -> list[os.DirEntry[str]]:
        with os.scandir(self.folder) as entries:
            return sorted((e for e in entries if not e.name.startswith((".", "__"))), key=lambda e: e.name)

    @cached_property
    def folders(self) -> list[str]:
        """Names of the folders in the channel's folder."""
        return [e.name for e in self._entries if e.is_dir()]

    @cached_property
    def files(self) -> list[str]:
        """Names of the files in the channel's folder itself."""
        files = [e.name for e in self._entries if not e.is_dir()]
        if ending := posixpath.splitext(self.table)[1]:
            files = [name for name in files if name == self.table or not name.endswith(ending)]
        return files

    def ending(self, *endings: str) -> list[str]:
        """Files of the folder itself with one of these endings."""
        return [name for name in self.files if name.lower().endswith(endings)]

    def only(self, names: Sequence[str], what: str) -> Path:
        """The one file that is there.

        Raises:
            ThoraxError: there are several, or none; `what` is their plural.
        """
        if len(names) != 1:
            raise ThoraxError(f"{self.folder} holds {len(names)} {what} ({', '.join(names)}); leave one")
        return self.folder / names[0]

    @cached_property
    def everything(self) -> frozenset[str]:
        """Every file at any depth, links followed, hidden ones left out. Nothing is opened."""
        return frozenset(files_below(self.folder, (".", "__")))

    @cached_property
    def images(self) -> list[str]:
        """Every image at any depth, in the order of its path."""
        found = (name for name in self.everything if is_image(self.folder / name))
        return sorted(found, key=lambda name: name.split("/"))

    def paths(self, names: Iterable[str]) -> list[str]:
        """Where the named files are."""
        return [f"{self.folder}{os.sep}{name}" for name in names]

    def relative(self, name: str, where: str) -> str:
        """The name in its plain form: "./a//b.png" is "a/b.png"; an absolute path below the channel is taken.

        Raises:
            ThoraxError: it leads out of the channel; `where` is the place that names it.
        """
        plain = posixpath.normpath(name)
        if plain.startswith(f"{self.folder.absolute().as_posix()}/"):
            return plain[len(self.folder.absolute().as_posix()) + 1 :]
        if plain.startswith("/") or plain.split("/")[0] == "..":
            raise ThoraxError(f"{where}: {name} leads out of the channel; images must lie in {self.folder}")
        return plain

    def locate(
        self, names: Sequence[str], table: str | Path, lines: Sequence[int], below: Sequence[str] = ("",)
    ) -> list[str]:
        """Where the images of a table are, below the channel; each is looked for in the folders `below` in turn.

        Raises:
            ThoraxError: a name leads out of the channel, is listed twice or is empty, or images are missing; with
                lines.
        """
        found: list[str] = []
        missing: list[tuple[int, str]] = []
        first: dict[str, int] = {}
        for name, line in zip(names, lines, strict=True):
            if not name:
                raise ThoraxError(f"{table} line {line} has no path")
            plain = self.relative(name, f"{table} line {line}")
            if plain in first:
                raise ThoraxError(f"{table} line {line} lists {name} a second time, after line {first[plain]}")
            first[plain] = line
            place = next((folder + plain for folder in below if folder + plain in self.everything), None)
            if place is None:
                missing.append((line, name))
            else:
                found.append(place)
        if missing:
            line, name = missing[0]
            others = " or its folder images" if "images/" in below else ""
            examples = shortened([f"line {n} {m}" for n, m in missing])
            more = f"; {len(missing)} of {len(names)} images are missing: {examples}" if len(missing) > 1 else ""
            raise ThoraxError(f"{table} line {line}: {name} does not exist in {self.folder}{others}{more}")
        return found

    def inventory(self) -> str:
        """What lies in the folder, in a few words."""
        names = shortened([e.name for e in self._entries], 3)
        return f"{len(self.files)} files and {len(self.folders)} folders ({names})"


def shortened(names: Sequence[str], most: int = EXAMPLES) -> str:
    """The first names with commas between them, and "..." where there are more than `most`."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def part_of(text: str, where: str) -> str:
    """The part that a word such as "val" means.

    Raises:
        ThoraxError: it means none.
    """
    if (part := PARTS.get(text.strip().lower())) is None:
        raise ThoraxError(f"{where} is {text!r}; write train, validation or test")
    return part


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean NAME?", or nothing."""
    match = difflib.get_close_matches(name.lower(), (by_lower := {k.lower(): k for k in known}), n=1, cutoff=0.5)
    return f"; did you mean {by_lower[match[0]]}?" if match else ""
