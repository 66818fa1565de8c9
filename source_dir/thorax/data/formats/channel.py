"""A channel on disk: listed once, and asked by every format. Names are relative to its folder, with "/"."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thorax.data.decoders import is_image
from thorax.data.formats.table_options import NO_OPTIONS, TableOptions
from thorax.data.formats.words import EXAMPLES, PARTS, nearest, nearest_file, part_of, shortened
from thorax.errors import ThoraxError
from thorax.files import files_below, is_foreign
from thorax.text import counted

__all__ = ["EXAMPLES", "PARTS", "Channel", "ReadOptions", "nearest", "part_of", "shortened"]


#: A channel with more folders than this is no root of a set in a folder of its own.
_FOLDERS = 30


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

    @classmethod
    def of(cls, config: Any) -> ReadOptions:
        """Those of a configuration."""
        return cls(
            config.labels,
            config.num_classes,
            config.label_format,
            config.attribute_names,
            config.count_crowds,
            TableOptions.of(config),
        )


class Channel:
    """One channel's folder, the options, and perhaps a companion folder with its .lst (train_lst beside train).

    Of several tables in the folder, `table` is the one that is meant: files with its ending beside it are passed over.
    """

    def __init__(self, folder: Path, options: ReadOptions, lists: Path | None = None, table: str = "") -> None:
        self.folder, self.options, self.lists, self.table = folder, options, lists, table
        self.passed: list[str] = []  # folders that `everything` leaves out
        self.used: set[str] = set()  # files that `paths` was asked for
        self.explained: set[str] = set()  # images that a format left out with a note of its own

    @cached_property
    def _entries(self) -> list[os.DirEntry[str]]:
        with os.scandir(self.folder) as entries:
            return sorted((e for e in entries if not is_foreign(e.name)), key=lambda e: e.name)

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

    @cached_property
    def tables_below(self) -> dict[str, list[str]]:
        """Folder -> the CSVs in it, by their names; {} where there are more folders than the root of a set has."""
        if len(self.folders) > _FOLDERS:
            return {}
        names = {folder: os.listdir(self.folder / folder) for folder in self.folders}
        return {folder: sorted(name for name in names[folder] if ".csv" in name.lower()) for folder in names}

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
        """Every file at any depth, links followed, hidden ones and those of systems left out. Nothing is opened."""
        return frozenset(files_below(self.folder, is_foreign, self.passed))

    @cached_property
    def images(self) -> list[str]:
        """Every image at any depth, in the order of its path."""
        found = (name for name in self.everything if is_image(self.folder / name))
        return sorted(found, key=lambda name: name.split("/"))

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Base name -> every file that has it, below the channel."""
        found: dict[str, list[str]] = {}
        for path in self.everything:
            found.setdefault(posixpath.basename(path), []).append(path)
        return found

    def by_end(self, name: str, where: str) -> str:
        """The file whose path has the longest end in common with a name that was written on another machine; "" where
        no file has its base name.

        Raises:
            ThoraxError: several files have an end of the same length in common with it; `where` is the place that
                names it.
        """
        words = [word for word in name.split("/") if word not in ("", ".", "..")]
        best: list[str] = []
        longest = 0
        for path in self._by_name.get(words[-1], ()) if words else ():
            same = 0
            for one, other in zip(reversed(words), reversed(path.split("/")), strict=False):
                if one != other:
                    break
                same += 1
            if same > longest:
                best, longest = [], same
            if same == longest:
                best.append(path)
        if len(best) > 1:
            raise ThoraxError(
                f"{where}: {name} may be {' or '.join(sorted(best)[:2])} of {self.folder}; write more of its path, or"
                " leave one of the files"
            )
        return best[0] if best else ""

    def paths(self, names: Iterable[str]) -> list[str]:
        """Where the named files are; they count as used from then on."""
        names = list(names)
        self.used.update(names)
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
            hint = nearest_file(name, self.everything)
            raise ThoraxError(f"{where}: {name} leads out of the channel; images must lie in {self.folder}{hint}")
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
            place = next((folder + plain for folder in below if folder + plain in self.everything), None)
            if (key := place or plain) in first:
                raise ThoraxError(f"{table} line {line} lists {name} a second time, after line {first[key]}")
            first[key] = line
            if place is None:
                missing.append((line, name))
            else:
                found.append(place)
        if missing:
            line, name = missing[0]
            others = " or its folder images" if "images/" in below else ""
            examples = shortened([f"line {n} {m}" for n, m in missing])
            more = f"; {len(missing)} of {len(names)} images are missing: {examples}" if len(missing) > 1 else ""
            hint = nearest_file(name, self.everything)
            raise ThoraxError(f"{table} line {line}: {name} does not exist in {self.folder}{others}{hint}{more}")
        return found

    def inventory(self) -> str:
        """What lies in the folder, in a few words."""
        names = shortened([e.name for e in self._entries], 3)
        return f"{counted(len(self.files), 'file')} and {counted(len(self.folders), 'folder')} ({names})"
