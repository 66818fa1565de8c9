"""A folder with a file for every object of a source, of which only those that are needed have their content.

So every machine reads the whole set by the same rules as one machine alone: names, tables, the headers that name
patients. An image that is not looked at now is a file of its size and time without content, which takes no disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from thorax.data.decoders import EXTENSIONS, HEAD, NOT_IMAGES
from thorax.data.decoders.dicom import DICOM
from thorax.data.decoders.dicom_file import DEFLATED
from thorax.dataset.cluster.plan import Entry
from thorax.dataset.cluster.store import THREADS, Store

_WHOLE, _HEADER, _EMPTY = "whole", "header", "empty"
#: Endings of files that a data format opens.
TABLES = frozenset([".csv", ".tsv", ".json", ".jsonl", ".parquet", ".lst", ".manifest", ".txt", ".gz"])


class Skeleton:
    """One source as a folder.

    Attributes:
        folder: named as the source's last part.
        address: the source, ends with "/".
    """

    def __init__(self, root: Path, address: str, entries: Sequence[Entry], store: Store) -> None:
        self.address, self._store = address, store
        self.folder = root / (PurePosixPath(address.removeprefix("s3://")).name or "images")
        self._entries = {str(self.folder / entry.name): entry for entry in entries}

    def build(self) -> None:
        """Makes all files: tables whole, of images that may be DICOM the header, of other images nothing."""
        for folder in {os.path.dirname(path) for path in self._entries}:
            os.makedirs(folder, exist_ok=True)
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(self._first, self._entries):
                pass

    def _first(self, path: str) -> None:
        entry, needed = self._entries[path], _needed(path)
        data = b""
        if needed == _WHOLE or (needed == _HEADER and entry.size <= HEAD):
            data = self._store.read(self.address + entry.name, entry.etag)
        elif needed == _HEADER:
            data = self._store.read(self.address + entry.name, entry.etag, first=HEAD)
            if DEFLATED.encode() in data:  # the header is inside of what is compressed
                data = self._store.read(self.address + entry.name, entry.etag)
        self._put(path, data)

    def _put(self, path: str, data: bytes) -> None:
        """The file with these bytes first, as long and as old as the object."""
        entry = self._entries[path]
        with open(path, "wb") as file:
            file.write(data)
            file.truncate(entry.size)
        os.utime(path, ns=(entry.changed, entry.changed))

    def fetch(self, path: str) -> None:
        """Gives a file its content. Raises ThoraxError: the object is gone or was changed."""
        entry = self._entries[path]
        self._put(path, self._store.read(self.address + entry.name, entry.etag))

    def empty(self, path: str) -> None:
        """Takes an image's content away."""
        if _needed(path) != _WHOLE:
            self._put(path, b"")

    def holds(self, path: str) -> bool:
        return path in self._entries

    def named(self, text: str) -> str:
        """A text with the address in place of the folder."""
        return text.replace(f"{self.folder}/", self.address).replace(str(self.folder), self.address)


def _needed(path: str) -> str:
    """What of a file is needed to list the set: by its ending, as is_image and patients_of decide."""
    ending = os.path.splitext(path)[1].lower()
    if ending in TABLES:
        return _WHOLE
    others = ending in EXTENSIONS and ending not in DICOM.endings
    return _EMPTY if others or ending in NOT_IMAGES or path.endswith("~") else _HEADER


class Skeletons:
    """All sources of a job; images are there while they are worked on."""

    def __init__(self, skeletons: Sequence[Skeleton]) -> None:
        self._all = list(skeletons)

    def named(self, text: str) -> str:
        """A text with addresses in place of folders."""
        for skeleton in self._all:
            text = skeleton.named(text)
        return text

    @contextmanager
    def content(self, images: Sequence[Path]) -> Iterator[None]:
        """The images have their content until the block ends.

        Raises:
            ThoraxError: an object is gone or was changed.
        """
        with ThreadPoolExecutor(THREADS) as pool:  # no thread is left where processes are forked
            for _ in pool.map(lambda path: self._of(str(path)).fetch(str(path)), images):
                pass
        yield
        for path in images:
            self._of(str(path)).empty(str(path))

    def _of(self, path: str) -> Skeleton:
        return next(skeleton for skeleton in self._all if skeleton.holds(path))
