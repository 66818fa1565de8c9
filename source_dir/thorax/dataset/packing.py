"""Packing: images are read and encoded by processes, written by this one, unit by unit, so that a killed run can go on.

A unit is a shard, or for RecordIO a part file that is joined with the others in the end. What is done is written in
OUT/.pack: the plan, and a small file for each unit. The folder goes away when all is done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thorax.data import recordio, shards
from thorax.data.source import ByteRange
from thorax.dataset.encoding import Encoded, encoded
from thorax.dataset.reading import make_folder, some, write_text
from thorax.errors import ThoraxError
from thorax.files import open_whole
from thorax.tracking.progress import Progress

if TYPE_CHECKING:
    from thorax.data.samples import Listing

VERSION = 1
SUMS = "SHA256SUMS"
STATE = ".pack"


@dataclass(frozen=True)
class PackOptions:
    """See the command's arguments of the same names."""

    to: str
    size: str
    encode: str
    quality: int
    shard_images: int
    shuffle: int | None
    skip_corrupt: bool


@dataclass
class Unit:
    """What a finished unit holds.

    Attributes:
        images: places in the listing; those that could not be read are not among them.
        offsets, sizes: of each image in the unit's file (shards), or of each record (RecordIO; no sizes).
        bytes, sha256: of the unit's file.
    """

    images: list[int]
    offsets: list[int]
    sizes: list[int]
    bytes: int
    sha256: str


def pack(listing: Listing, out: Path, name: str, options: PackOptions, processes: int) -> Iterator[str]:
    """Packs the images into `out`; gives lines for the user.

    Raises:
        ThoraxError: `out` holds something else, an image cannot be read, the disk is full.
    """
    if options.shuffle is not None:
        listing = some(listing, np.random.default_rng(options.shuffle).permutation(len(listing.ids)))
    plan = _plan(listing, name, options)
    if _is_done(out, plan, options):
        yield f"{out} is packed already, from the same images with the same options: nothing to do"
        return
    starts = range(0, len(listing.ids), options.shard_images)
    counts = [min(options.shard_images, len(listing.ids) - start) for start in starts]
    units = [_finished(out, k, count, options) for k, count in enumerate(counts)]
    done = sum(len(unit.images) for unit in units if unit)
    if done:
        yield f"going on: {sum(map(bool, units))} of {len(units)} parts are there"
    todo = [
        range(start, start + count) for start, count, unit in zip(starts, counts, units, strict=True) if unit is None
    ]
    corrupt: list[str] = []
    progress = Progress(f"packing {out}", len(listing.ids), len(listing.ids) - sum(map(len, todo)), True, 30.0, "image")
    try:
        images = encoded(((k, listing.sources[k]) for unit in todo for k in unit), options, processes)
        missing = (k for k, unit in enumerate(units) if unit is None)
        for k, wanted in zip(missing, todo, strict=True):
            units[k] = _write_unit(
                out, k, listing, _good(islice(images, len(wanted)), options, corrupt, progress), options
            )
    finally:
        progress.close()
    finished = [unit for unit in units if unit]
    if not sum(len(unit.images) for unit in finished):
        raise ThoraxError(f"no image could be read, e.g. {corrupt[0] if corrupt else listing.ids[0]}")
    left_out = len(listing.ids) - sum(len(unit.images) for unit in finished)
    if left_out:
        yield f"warning: {left_out} images could not be read and were left out (--skip-corrupt)" + (
            f", e.g. {corrupt[0]}" if corrupt else ""
        )
    files = (
        _finish_shards(listing, out, finished) if options.to == "shards" else _finish_rec(listing, out, name, finished)
    )
    write_text("".join(f"{digest}  {file}\n" for file, digest in sorted(files.items())), out / SUMS, "checksums")
    write_text(json.dumps({**json.loads(plan), "left_out": left_out}, indent=1), out / f".{SUMS}.plan", "plan")
    shutil.rmtree(out / STATE)
    size = sum((out / file).stat().st_size for file in files)
    packed = sum(len(unit.images) for unit in finished)
    where = f"{len(finished)} shards in {out}" if options.to == "shards" else str(out / f"{name}.rec")
    yield f"packed {packed} images into {where}, {size / 1e6:.1f} MB; checksums in {SUMS}"
    yield from _about_labels(listing, options)


def _about_labels(listing: Listing, options: PackOptions) -> Iterator[str]:
    from thorax.data.patients import patient_of, patients_of

    if options.to == "shards":
        return
    yield f"labels are numbers in RecordIO; train with --set labels={','.join(listing.names)}"
    kept = options.encode == "keep"  # then DICOM headers go along
    places = [source if isinstance(source, ByteRange) else str(source) for source in listing.sources]
    told = patients_of(listing.ids, places) if kept else map(patient_of, listing.ids)
    if any(again != patient for again, patient in zip(told, listing.patients, strict=True)):
        yield (
            f"warning: RecordIO keeps no patients, and these images' names {'and headers ' * kept}do not tell them: "
            "split by patient first (prepare.py split, then pack --split), or pack shards"
        )


# -- The plan, and what is done ----------------------------------------------------------------------------------------


def _plan(listing: Listing, name: str, options: PackOptions) -> str:
    """What is to be packed, as JSON: another set of images or other options give another text."""
    digest = hashlib.sha256()
    for k, (image, patient) in enumerate(zip(listing.ids, listing.patients, strict=True)):
        source = listing.sources[k]
        try:
            stat = Path(source.path if isinstance(source, ByteRange) else source).stat()
            whole, changed = stat.st_size, stat.st_mtime_ns
        except OSError:  # the image cannot be read; that is told when its turn comes
            whole, changed = -1, 0
        size, offset = (source.size, source.offset) if isinstance(source, ByteRange) else (whole, 0)
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
    return json.dumps(plan, indent=1)


def _is_done(out: Path, plan: str, options: PackOptions) -> bool:
    """Whether the folder holds just this, finished; else it is made ready to begin or to go on.

    Raises:
        ThoraxError: it holds something else, lacks images that were left out, or is damaged.
    """
    make_folder(out)
    stored = [out / f".{SUMS}.plan", out / STATE / "plan.json"]
    theirs = next((json.loads(file.read_text(encoding="utf-8")) for file in stored if file.is_file()), None)
    left_out = theirs.pop("left_out", 0) if theirs else 0
    if theirs is not None and theirs != json.loads(plan):
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
        raise ThoraxError(
            f"{out} is not empty ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}); choose an empty folder"
        )
    if (out / SUMS).is_file() and stored[0].is_file():
        check_sums(out)
        return True
    write_text(plan, stored[1], "plan")
    return False


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


def _file(out: Path, k: int, options: PackOptions) -> Path:
    return out / f"shard-{k:06d}.tar" if options.to == "shards" else out / STATE / f"part-{k:06d}.rec"


def _finished(out: Path, k: int, images: int, options: PackOptions) -> Unit | None:
    """What is told of unit k with so many images, if it is there; without --skip-corrupt none of them may lack."""
    state, file = out / STATE / f"unit-{k:06d}.json", _file(out, k, options)
    if not state.is_file() or not file.is_file():
        return None
    unit = Unit(**json.loads(state.read_text(encoding="utf-8")))
    return unit if file.stat().st_size == unit.bytes and (len(unit.images) == images or options.skip_corrupt) else None


# -- Units -------------------------------------------------------------------------------------------------------------


def _good(images: Iterable[Encoded], options: PackOptions, corrupt: list[str], progress: Progress) -> Iterator[Encoded]:
    """The images that could be read."""
    for image in images:
        progress.step()
        if not image.problem:
            yield image
            continue
        if not options.skip_corrupt:
            raise ThoraxError(
                f"{image.problem}; give --skip-corrupt to go on without it, or fix or remove it and pack anew"
            )
        corrupt.append(image.problem)


def _write_unit(out: Path, k: int, listing: Listing, images: Iterable[Encoded], options: PackOptions) -> Unit:
    file = _file(out, k, options)
    kept: list[int] = []

    def remembered() -> Iterator[Encoded]:
        for image in images:
            kept.append(image.place)
            yield image

    if options.to == "shards":
        members = (
            (f"{image.place:09d}", _about(listing, image.place), image.suffix, image.data) for image in remembered()
        )
        offsets, sizes, digest = shards.write_shard(file, members)
    else:
        with recordio.Writer(file) as writer:
            offsets = [
                writer.write(recordio.pack(image.data, _numbers(listing, image.place), image.place), image.place)
                for image in remembered()
            ]
        sizes, digest = [], ""
    unit = Unit(kept, offsets, sizes, file.stat().st_size, digest)
    write_text(json.dumps(vars(unit)), out / STATE / f"unit-{k:06d}.json", "state of the packing")
    return unit


def _about(listing: Listing, place: int) -> dict[str, Any]:
    """What the .json beside an image tells."""
    row = listing.targets[place]
    about: dict[str, Any] = {"id": listing.ids[place], "patient": listing.patients[place]}
    if listing.exclusive:
        return {**about, "label": listing.names[int(row.argmax())]}
    return {
        **about,
        "labels": {
            name: None if np.isnan(value) else int(value) for name, value in zip(listing.names, row, strict=True)
        },
    }


def _numbers(listing: Listing, place: int) -> float | list[float]:
    """An image's label in RecordIO: its class's index, or 1, 0 and -1 (unknown) for every label."""
    row = listing.targets[place]
    return float(row.argmax()) if listing.exclusive else np.where(np.isnan(row), -1, row).tolist()


# -- The end -----------------------------------------------------------------------------------------------------------


def _finish_shards(listing: Listing, out: Path, units: list[Unit]) -> dict[str, str]:
    """Writes the index; returns the sha256 of every file."""
    rows = np.array([place for unit in units for place in unit.images], np.int64)
    names = [f"shard-{k:06d}.tar" for k in range(len(units))]
    kept = some(listing, rows)
    shards.write_index(
        shards.ShardIndex(
            names,
            np.array([unit.bytes for unit in units]),
            listing.names,
            listing.exclusive,
            list(kept.ids),
            list(kept.patients),
            np.repeat(np.arange(len(units)), [len(unit.images) for unit in units]),
            np.concatenate([unit.offsets for unit in units]).astype(np.int64),
            np.concatenate([unit.sizes for unit in units]).astype(np.int64),
            kept.targets,
        ),
        out,
    )
    index = hashlib.sha256((out / shards.INDEX).read_bytes()).hexdigest()
    return {**{name: unit.sha256 for name, unit in zip(names, units, strict=True)}, shards.INDEX: index}


def _finish_rec(listing: Listing, out: Path, name: str, units: list[Unit]) -> dict[str, str]:
    """Joins the parts, writes .idx and .lst; returns the sha256 of every file."""
    index, lines, begin = [], [], 0
    with open_whole(out / f"{name}.rec", "RecordIO file", sum(unit.bytes for unit in units)) as whole:
        hashed = shards.Hashed(whole)
        for k, unit in enumerate(units):
            with (out / STATE / f"part-{k:06d}.rec").open("rb") as part:
                shutil.copyfileobj(part, hashed, 1 << 20)
            for place, offset in zip(unit.images, unit.offsets, strict=True):
                numbers = _numbers(listing, place)
                told = "\t".join(f"{value:g}" for value in (numbers if isinstance(numbers, list) else [numbers]))
                index.append(f"{place}\t{begin + offset}\n")
                lines.append(f"{place}\t{told}\t{listing.ids[place]}\n")
            begin += unit.bytes
    texts = {f"{name}.idx": "".join(index), f"{name}.lst": "".join(lines)}
    for file, text in texts.items():
        write_text(text, out / file, "list of the records")
    return {
        f"{name}.rec": hashed.sha256.hexdigest(),
        **{file: hashlib.sha256(text.encode()).hexdigest() for file, text in texts.items()},
    }
