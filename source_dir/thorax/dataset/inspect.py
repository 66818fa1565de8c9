"""Every image of every part is read once, by several processes: what `check` and `stats` know about the images."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from thorax.data.decoders import DecodeError, decode, header
from thorax.data.source import ByteRange, Source
from thorax.dataset.reading import add_format, label_columns, label_names
from thorax.errors import ThoraxError
from thorax.labels import NEGATIVE_NAMES
from thorax.tracking.progress import Progress

if TYPE_CHECKING:
    pass

PARTS = ("train", "validation", "test")
#: Side of the small version that images are compared by.
SMALL = 32
CHUNK = 16
T = TypeVar("T")


@dataclass
class ImageInventory:
    """The images of all parts, by columns.

    Attributes:
        names: label names of all parts together.
        parts, ids, patients, sources: of every image.
        targets: (N, len(names)): 1, 0, or NaN for unknown.
        exclusive: every image has exactly one of the names.
        notes: what the formats have to say.
    """

    names: tuple[str, ...]
    parts: np.ndarray
    ids: list[str]
    patients: list[str]
    sources: list[Source]
    targets: np.ndarray
    exclusive: bool
    notes: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def part_names(self) -> list[str]:
        """The parts that there are: train, validation, test."""
        found = set(self.parts.tolist())
        return [part for part in (*PARTS, "images") if part in found]

    @property
    def told_labels(self) -> list[tuple[int, str, str]]:
        """(column, label, what its absence is called).

        Of two classes one says all: the one that is not called normal.
        """
        if not self.exclusive or len(self.names) != 2:
            return [(k, name, f"not {name}") for k, name in enumerate(self.names)]
        k = int(self.names[0].lower() in NEGATIVE_NAMES or self.names[1].lower() not in NEGATIVE_NAMES)
        return [(k, self.names[k], self.names[1 - k])]

    def place(self, k: int) -> str:
        """What image k is called, with its part."""
        part = str(self.parts[k])
        return self.ids[k] if part == "images" or self.ids[k].startswith(f"{part}/") else f"{part}: {self.ids[k]}"

    def labels(self, k: int) -> str:
        """What image k is labelled, in words."""
        has = [n for n, v in zip(self.names, self.targets[k], strict=True) if v == 1]
        unknown = [f"{n}?" for n, v in zip(self.names, self.targets[k], strict=True) if np.isnan(v)]
        return "|".join(has + (unknown if len(unknown) < 4 else [f"{len(unknown)} unknown"])) or "none"


@dataclass(frozen=True)
class ImageInfo:
    """What one image is.

    Attributes:
        problem: why it cannot be read; then nothing else is known.
        sha256: of its bytes.
        kind, width, height, mode, bits: see decoders.Header.
        small: (SMALL, SMALL) uint8, the whole image.
    """

    problem: str = ""
    sha256: str = ""
    kind: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    bits: int = 0
    small: np.ndarray | None = None


def look(source: Source) -> ImageInfo:
    """Reads one image's bytes once."""
    try:
        data = source.read() if isinstance(source, ByteRange) else source.read_bytes() if source.is_file() else source
        told = header(data, str(source))
        small = decode(data, str(source), lambda width, height: (SMALL, SMALL))
    except (ThoraxError, OSError) as error:
        return ImageInfo(problem=str(error))
    digest = hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else ""
    return ImageInfo("", digest, told.kind, told.width, told.height, told.mode, told.bits, small)


@dataclass(frozen=True)
class Pixels:
    """(256,) counts of an image's grey levels, of all pixels, and what it is; or a problem."""

    problem: str
    counts: np.ndarray
    width: int = 0
    height: int = 0
    mode: str = ""
    bits: int = 0
    kind: str = ""


def pixels(source: Source) -> Pixels:
    try:
        told = header(source, str(source))
        counts = np.bincount(decode(source, str(source)).ravel(), minlength=256)
        return Pixels("", counts, told.width, told.height, told.mode, told.bits, told.kind)
    except DecodeError as error:
        return Pixels(str(error), np.zeros(256, np.int64))


def each(work: Callable[[Source], T], sources: Sequence[Source], processes: int, title: str) -> Iterator[T]:
    """`work` of every image, in order, by several processes, with a bar."""
    bar = Progress(title, len(sources), 0, shown=True, every=10, unit="image")
    try:
        if processes == 1:
            for source in sources:
                yield work(source)
                bar.step()
            return
        with ProcessPoolExecutor(processes) as pool:
            for done in pool.map(work, sources, chunksize=CHUNK):
                yield done
                bar.step()
    except BrokenProcessPool:
        raise ThoraxError(
            "a process that reads images died, perhaps for want of memory; give --processes 1 to see at which image"
        ) from None
    finally:
        bar.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The channels of a set and how it is read."""
    parser.add_argument(
        "images",
        type=Path,
        nargs="?",
        metavar="IMAGES",
        help="folder with images in any format that training takes, perhaps with parts of its own",
    )
    for part in PARTS:
        parser.add_argument(f"--{part}", type=Path, metavar="DIR", help=f"the channel {part} (instead of IMAGES)")
        parser.add_argument(
            f"--{part}-lst",
            type=Path,
            metavar="DIR",
            help=f"the channel {part}_lst: the .lst of the images of --{part}",
        )
    add_format(parser)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument(
        "--processes", type=int, default=cpus, metavar="N", help="processes that read images (default: the CPUs)"
    )


def read_parts(args: argparse.Namespace) -> ImageInventory:
    """The images of IMAGES, or of --train, --validation and --test.

    Raises:
        ThoraxError: neither or both are given; see read_channel and label_columns.
    """
    from thorax.data.formats import ALIASES, FORMATS, read_channel
    from thorax.data.formats.channel import ReadOptions

    if args.processes < 1:
        raise ThoraxError(f"--processes {args.processes} is out of range; choose 1 or more")
    if args.data_format not in ("auto", *FORMATS, *ALIASES):
        raise ThoraxError(
            f"--data-format {args.data_format} is not known; choose one of {', '.join(('auto', *FORMATS, *ALIASES))}"
        )
    folders = {part: folder for part in PARTS if (folder := getattr(args, part))}
    if bool(args.images) == bool(folders):
        raise ThoraxError("give either IMAGES, a folder, or --train DIR with perhaps --validation DIR and --test DIR")
    lists = {part: folder for part in PARTS if (folder := getattr(args, f"{part}_lst"))}
    for part, folder in lists.items():
        if part not in folders:
            raise ThoraxError(f"--{part}-lst {folder} without --{part}: a list needs its images; give --{part} DIR")
    wanted = label_names(args.labels)
    options = ReadOptions(labels=wanted)
    listings = [
        (part, read_channel(part, folder, args.data_format, options, lists.get(part)))
        for part, folder in (folders or {"images": args.images}).items()
    ]
    names = tuple(dict.fromkeys(name for _, listing in listings for name in listing.names))
    exclusive = all(listing.exclusive for _, listing in listings)
    targets = np.full(
        (sum(len(listing.ids) for _, listing in listings), len(names)), 0.0 if exclusive else np.nan, np.float32
    )
    columns = label_columns(names, exclusive, wanted)
    images = ImageInventory(tuple(names[k] for k in columns), np.array([]), [], [], [], targets, exclusive, [])
    parts: list[str] = []
    for part, listing in listings:
        rows = slice(len(parts), len(parts) + len(listing.ids))
        for k, name in enumerate(listing.names):
            targets[rows, names.index(name)] = listing.targets[:, k]
        parts += list(listing.parts) if listing.parts is not None and not folders else [part] * len(listing.ids)
        images.ids += list(listing.ids)
        images.patients += list(listing.patients)
        images.sources += list(listing.sources)
        images.notes += list(listing.notes)
    images.parts, images.targets = np.array(parts), targets[:, columns]
    return images


def console() -> Any:
    """Where tables are printed; wide where there is no terminal, so that nothing is cut."""
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)
