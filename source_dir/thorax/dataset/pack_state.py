"""What a packed folder says about itself: the plan, the units that are done, and the checksums.

While a folder is packed, the plan and a small file for each finished unit are in OUT/.pack, so that a killed run can go
on. When all is done that folder is removed, and SHA256SUMS and the plan stay.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.packed import SUMS
from thorax.data.samples import Listing
from thorax.data.source import ByteRange, Source
from thorax.dataset.writing import make_folder, write_text
from thorax.errors import ThoraxError
from thorax.files import digest_of, read_sealed, write_sealed

VERSION = 1
STATE = ".pack"
PLAN = f".{SUMS}.plan"


@dataclass(frozen=True)
class PackOptions:
    """How images are packed.

    Attributes:
        to: shards (tar files) or rec (one RecordIO file).
        size, encode, quality: see encoding.Encoding.
        shard_images: images in a shard.
        shuffle: seed of the images' order; None keeps the listing's.
        skip_corrupt: leave out images that cannot be read, instead of stopping.
        color: gray or rgb: what images are encoded anew as; auto before a sample of them has decided.
    """

    to: str = "shards"
    size: str = ""
    encode: str = "keep"
    quality: int = 95
    shard_images: int = 1000
    shuffle: int | None = None
    skip_corrupt: bool = False
    color: str = "gray"


@dataclass
class Unit:
    """What a finished unit holds: a shard, or a part of the RecordIO file.

    Attributes:
        images: places in the listing; those that could not be read are not among them.
        offsets, sizes: of each image in the unit's file (shards), or of each record (RecordIO; no sizes).
        bytes, sha256: of the unit's file.
        crcs: CRC-32 of each image (shards); empty in a unit of an earlier version.
    """

    images: list[int]
    offsets: list[int]
    sizes: list[int]
    bytes: int
    sha256: str
    crcs: list[int] = field(default_factory=list)


def plan_of(listing: Listing, name: str, options: PackOptions) -> dict[str, Any]:
    """What is to be packed: another set of images or other options give another plan."""
    digest = hashlib.sha256()
    for k, (image, patient) in enumerate(zip(listing.ids, listing.patients, strict=True)):
        size, offset, changed = _stamp(listing.sources[k])
        digest.update(f"{image}\0{patient}\0{size}\0{offset}\0{changed}\0".encode())
    digest.update(np.ascontiguousarray(listing.targets, np.float32).tobytes())
    plan = {
        "version": VERSION,
        "images": len(listing.ids),
        "sha256": digest.hexdigest(),
        "names": list(listing.names),
        "name": name,
        **asdict(options),
    }
    del plan["skip_corrupt"]  # a run that a damaged image stopped goes on with it
    if options.color != "rgb":  # as plans were before there were colours
        del plan["color"]
    return plan


def _stamp(source: Source) -> tuple[int, int, int]:
    """(bytes, offset, time of the last change) of an image."""
    try:
        stat = Path(source.path if isinstance(source, ByteRange) else source).stat()
        whole, changed = stat.st_size, stat.st_mtime_ns
    except OSError:  # the image cannot be read; that is an error when its turn comes
        whole, changed = -1, 0
    return (source.size, source.offset, changed) if isinstance(source, ByteRange) else (whole, 0, changed)


def is_done(out: Path, plan: dict[str, Any], options: PackOptions) -> bool:
    """Whether the folder holds just this, finished; else it is made ready to begin or to go on.

    Raises:
        ThoraxError: it holds something else, lacks images that were left out, or is damaged.
    """
    make_folder(out)
    stored = [out / PLAN, out / STATE / "plan.json"]
    there = next((file for file in stored if file.is_file()), None)
    theirs = read_sealed(there) if there else None
    if there and theirs is None:
        raise ThoraxError(f"{there} is damaged; remove the folder {out}, and pack it again")
    left_out = theirs.pop("left_out", 0) if theirs else 0
    if theirs is not None and theirs != plan:
        raise ThoraxError(
            f"{out} holds images that were packed from another set or with other options; remove the folder {out}, or"
            " choose another one"
        )
    if left_out and not options.skip_corrupt:
        raise ThoraxError(
            f"{out} is packed without {left_out} images that could not be read; give --skip-corrupt, or remove the"
            f" folder {out} to pack anew"
        )
    if theirs is None and (others := sorted(p.name for p in out.iterdir() if p.name != STATE)):
        some = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise ThoraxError(f"{out} is not empty ({some}); choose an empty folder")
    if (out / SUMS).is_file() and stored[0].is_file():
        check_sums(out)
        shutil.rmtree(out / STATE, ignore_errors=True)  # of a run that was killed after its last file
        return True
    make_folder(stored[1].parent)
    write_sealed(plan, stored[1], "plan")
    return False


def unit_file(out: Path, k: int, options: PackOptions) -> Path:
    """Where unit k is written."""
    return out / f"shard-{k:06d}.tar" if options.to == "shards" else out / STATE / f"part-{k:06d}.rec"


def save_unit(out: Path, k: int, unit: Unit) -> None:
    """Notes that unit k is done."""
    write_sealed(vars(unit), out / STATE / f"unit-{k:06d}.json", "state of the packing")


def finished_unit(out: Path, k: int, images: int, options: PackOptions, say: Callable[[str], None]) -> Unit | None:
    """Unit k with so many images, if it is done and as it was written; without skip_corrupt it must hold all of them.

    Args:
        say: takes a line about a unit that is damaged, and so packed anew.
    """
    state, file = out / STATE / f"unit-{k:06d}.json", unit_file(out, k, options)
    if not state.is_file() or not file.is_file():
        return None
    stored = read_sealed(state)
    unit = Unit(**stored) if stored and stored.keys() >= {"images", "offsets", "sizes", "bytes", "sha256"} else None
    if unit is None:
        say(f"warning: {state} is damaged; its images are packed anew")
        return None
    if file.stat().st_size != unit.bytes or (unit.sha256 and digest_of(file) != unit.sha256):
        say(f"warning: {file} is not as it was written; its images are packed anew")
        return None
    return unit if len(unit.images) == images or options.skip_corrupt else None


def finish(out: Path, plan: dict[str, Any], left_out: int, sums: Mapping[str, str]) -> None:
    """Writes the checksums (file -> sha256) and the plan, and removes what was kept to go on."""
    write_text("".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())), out / SUMS, "checksums")
    write_sealed({**plan, "left_out": left_out}, out / PLAN, "plan")
    shutil.rmtree(out / STATE)


def check_sums(folder: Path) -> int:
    """How many files a finished folder has, all as they were written.

    Raises:
        ThoraxError: it is not finished, or a file is missing, was changed or was cut short.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ThoraxError(
            f"{folder / SUMS} cannot be read ({error.strerror}); --verify is for a folder that prepare.py pack has"
            " finished"
        ) from None
    again = f"remove the folder {folder}, and copy or pack it again"
    for line in lines:
        digest, _, name = line.partition("  ")
        file = folder / name
        if not file.is_file():
            raise ThoraxError(f"{file} is missing; {again}")
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            raise ThoraxError(
                f"{file} is not as it was written: sha256 {found[:16]}..., {digest[:16]}... in {SUMS}; {again}"
            )
    return len(lines)
