"""What all machines of a job do: one command on one list of objects in S3. Written by who starts the job. No numpy."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from thorax.errors import ThoraxError

VERSION = 1
#: Files of a plan's folder: the plan, the objects, and, for pack, the table of parts.
PLAN, OBJECTS, SPLIT = "plan.json", "objects.json.gz", "split.csv"
#: Commands that several machines share.
COMMANDS = ("check", "stats", "pack")
#: Images of a unit of check and stats at most; a unit of pack is a shard. Units that each machine gets at least, where
#: there are enough images.
UNIT, FEWEST_UNITS = 1000, 4
#: Endings of files that hold many images: their parts cannot be shared out by key.
LARGER_FILES = (".rec", ".tar")


class Entry(NamedTuple):
    """One object below a source.

    Attributes:
        name: its key below the source.
        size: bytes.
        changed: when it was last changed, in nanoseconds since 1970.
        etag: S3's mark of its content.
    """

    name: str
    size: int
    changed: int
    etag: str


@dataclass(frozen=True)
class ClusterPlan:
    """One command, and where its images and results are.

    Attributes:
        command: of COMMANDS.
        options: its flags by name, without places.
        sources: images, or train, validation ..., train_lst ... -> s3:// address that ends with "/".
        out: s3:// address of the results, ends with "/".
        state: s3:// address of what each unit came to, ends with "/"; a later job goes on from there.
        unit: images of a unit of check and stats.
        kms_key: encrypts what is written; "": the bucket's default.
    """

    command: str
    options: Mapping[str, Any]
    sources: Mapping[str, str]
    out: str
    state: str
    unit: int = UNIT
    kms_key: str = ""

    def to_json(self) -> bytes:
        return (json.dumps({"version": VERSION, **asdict(self)}, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def read(cls, folder: Path) -> ClusterPlan:
        """The plan in a folder. Raises ThoraxError: of another version."""
        return cls.from_json((folder / PLAN).read_bytes())

    @classmethod
    def from_json(cls, text: bytes) -> ClusterPlan:
        """Raises ThoraxError: of another version."""
        stored = json.loads(text)
        if (version := stored.pop("version")) != VERSION:
            raise ThoraxError(f"the job's plan has version {version}, this program reads {VERSION}; start a new job")
        return cls(**stored)


def unit_size(objects: int, machines: int) -> int:
    """Images of a unit, so that every machine has some of them."""
    return min(UNIT, max(1, objects // (machines * FEWEST_UNITS)))


def objects_to_bytes(objects: Mapping[str, Sequence[Entry]]) -> bytes:
    """Source -> its objects, as a plan's file; the same objects give the same bytes."""
    text = json.dumps(objects, ensure_ascii=False, separators=(",", ":"))
    return gzip.compress(text.encode(), mtime=0)


def objects_from_bytes(data: bytes) -> dict[str, list[Entry]]:
    """See objects_to_bytes."""
    stored = json.loads(gzip.decompress(data))
    return {source: [Entry(*entry) for entry in entries] for source, entries in stored.items()}


def check_objects(source: str, address: str, entries: Iterable[Entry]) -> list[Entry]:
    """The objects that are files, sorted.

    Raises:
        ThoraxError: there are none; images lie in larger files; or the keys cannot be files of one folder.
    """
    found = sorted(entry for entry in entries if not entry.name.endswith("/"))
    if not found:
        raise ThoraxError(f"{source}: there is nothing below {address}")
    names = {entry.name for entry in found}
    for name in names:
        path = PurePosixPath(name)
        if path.as_posix() != name or path.is_absolute() or ".." in path.parts:
            raise ThoraxError(f"{source}: the key {address}{name} is no path of a file (//, . or ..); rename it")
        if above := next((str(folder) for folder in path.parents if str(folder) in names), ""):
            raise ThoraxError(f"{source}: {address}{above} is an object and a folder too; rename one of them")
        if path.suffix.lower() in LARGER_FILES:
            raise ThoraxError(
                f"{source}: {address}{name} holds many images: several machines share images that are objects of their"
                " own; copy it here and leave --instances out"
            )
    return found
