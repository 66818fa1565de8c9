"""What all published sets have in common: they are known by their tables' names and columns, and own their folders."""

from __future__ import annotations

import posixpath
import re
from abc import abstractmethod
from collections.abc import Sequence, Set
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from thorax.data.decoders import EXTENSIONS
from thorax.data.formats.channel import Channel
from thorax.data.formats.frame import Frame
from thorax.data.formats.labelled import LabelledRows, Locate, listing_of
from thorax.data.formats.names import key
from thorax.data.formats.registry import DataFormat
from thorax.data.samples import Listing
from thorax.tables import read_header


class PublishedSet(DataFormat):
    """A public set as it is downloaded: its tables, in the channel or in one folder below, and its images.

    Attributes:
        table: what the set's tables are called.
        columns: columns that all of them have.
        image_column: the one that names the image.
        readers: the rule for several rows of one image, unless the user says another.
    """

    owns_folders = True
    table: ClassVar[re.Pattern[str]]
    columns: ClassVar[tuple[str, ...]]
    image_column: ClassVar[str]
    readers: ClassVar[str] = "auto"

    def files(self, channel: Channel) -> list[str]:
        """The set's tables, relative to the channel: in its folder, else in one folder below it."""
        return self._tables(channel, "", channel.files) or self.below(channel)

    def below(self, channel: Channel) -> list[str]:
        """The set's tables in the first folder of the channel that has any."""
        found = (self._tables(channel, f"{folder}/", names) for folder, names in channel.tables_below.items())
        return next((names for names in found if names), [])

    def _tables(self, channel: Channel, folder: str, names: Sequence[str]) -> list[str]:
        called = (name for name in names if self.table.fullmatch(name))
        return [folder + name for name in called if self._is_table(channel.folder / folder / name)]

    def _is_table(self, path: Path) -> bool:
        return path.is_file() and self.knows({key(name) for name in _header(path, path.stat().st_mtime_ns)})

    def knows(self, header: Set[str]) -> bool:
        """Whether a table with these columns (see `names.key`) is the set's."""
        return header >= {key(name) for name in self.columns}

    def read(self, channel: Channel) -> Listing:
        """The images of the set's tables that are there, in the tables' order; notes count what is left out.

        Raises:
            ThoraxError: a column is missing, a value means nothing, an image is there twice, or none is there.
        """
        frame = self.frame(channel)
        named = frame.get(self.image_column) or ()
        frame = self.with_labels(channel, frame).filtered(channel.options.table.conditions)
        rows = self.rows(channel, frame)
        rows.notes = (*frame.notes, *rows.notes)
        listing = listing_of(channel, rows, self.locate(channel), self.readers)
        self._explain(channel, named)
        return listing

    def _explain(self, channel: Channel, named: Sequence[str]) -> None:
        """Images that the tables name and that are in no sample were left out with a line of the set's own."""
        if not channel.options.images:
            return
        known = frozenset(EXTENSIONS)
        others = channel.everything - channel.used - channel.explained
        rest = [path for path in others if posixpath.splitext(path)[1].lower() in known]
        if rest:
            used = {self.image_key(path) for path in channel.used}
            without = {self.image_key(name) for name in named} - used
            channel.explained.update(path for path in rest if self.image_key(path) in without)

    def image_key(self, path: str) -> str:
        """What the path of an image and its name in a table have in common: the file's name without its ending."""
        stem, ending = posixpath.splitext(posixpath.basename(path.strip()))
        return stem if ending.lower() in EXTENSIONS else stem + ending

    def with_labels(self, channel: Channel, frame: Frame) -> Frame:
        """The rows with what other tables of the set say of them."""
        return frame

    def frame(self, channel: Channel) -> Frame:
        """The rows of the set's tables."""
        return Frame.read(*(channel.folder / name for name in self.files(channel)))

    def base(self, channel: Channel) -> str:
        """The folder of the tables below the channel, with a slash at its end; "" for the channel itself."""
        folder, slash, _ = self.files(channel)[0].rpartition("/")
        return folder + slash

    @abstractmethod
    def rows(self, channel: Channel, frame: Frame) -> LabelledRows:
        """What the rows say."""

    @abstractmethod
    def locate(self, channel: Channel) -> Locate:
        """How the set's images are found."""


@lru_cache(maxsize=256)
def _header(path: Path, modified: int) -> tuple[str, ...]:
    """Of a table at this time of change."""
    return tuple(read_header(path))
