"""Pack images into tar shards or one RecordIO file. They are read and encoded by processes and written by this one,
unit by unit, so that a killed run can go on: see pack_state. The same images and options give the same bytes."""

from __future__ import annotations

import hashlib
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data import recordio, shards
from thorax.data.color import AUTO, ColorSample, chosen_color, sample_colors
from thorax.data.decoders import GRAY
from thorax.data.packed import SUMS
from thorax.data.patients import patient_of, patients_of
from thorax.data.samples import Listing
from thorax.data.source import ByteRange
from thorax.dataset import pack_state
from thorax.dataset.encoding import Encoded, Encoding
from thorax.dataset.pack_state import PackOptions, Unit
from thorax.dataset.processes import in_order
from thorax.dataset.reading import labels_flag, read_images, some
from thorax.dataset.writing import numbers_of, numbers_text, write_text
from thorax.errors import ThoraxError
from thorax.files import digest_of, open_whole
from thorax.text import are, counted, were
from thorax.tracking.progress import Progress

Say = Callable[[str], None]


def pack(
    listing: Listing,
    out: Path,
    options: PackOptions | None = None,
    name: str = "images",
    processes: int = 1,
    say: Say = print,
) -> None:
    """Packs the images into a folder, or goes on where an earlier run stopped.

    Args:
        listing: the images.
        out: the folder, empty or of an unfinished run.
        options: how.
        name: of the RecordIO file, without its ending.
        processes: processes that read and encode.
        say: takes lines for the user.

    Raises:
        ThoraxError: `out` holds something else, an image cannot be read, the disk is full.
    """
    options = options or PackOptions()
    listing = in_packing_order(listing, options)
    plan = pack_state.plan_of(listing, name, options)
    if pack_state.is_done(out, plan, options):
        say(f"{out} is packed already, from the same images with the same options: nothing to do")
        return
    corrupt: list[str] = []
    units = _pack_units(listing, out, options, processes, corrupt, say)
    packed = sum(len(unit.images) for unit in units)
    left_out = count_left_out(listing, units, corrupt, say)
    to_shards = options.to == "shards"
    sums = finish_shards(listing, out, units) if to_shards else _finish_rec(listing, out, name, units)
    pack_state.finish(out, plan, left_out, sums)
    size = sum((out / file).stat().st_size for file in sums)
    place = f"{counted(len(units), 'shard')} in {out}" if to_shards else str(out / f"{name}.rec")
    say(f"packed {packed} images into {place}, {size / 1e6:.1f} MB; checksums in {SUMS}")
    if not to_shards:
        _say_what_is_lost(listing, options, say)


def packed_color(
    listing: Listing, options: PackOptions, say: Say = print, sample: Callable[..., ColorSample] = sample_colors
) -> str:
    """gray or rgb, what the images are encoded as: as asked for, or as a sample of them shows; says so."""
    if options.color != AUTO or options.encode == "keep":
        return GRAY if options.color == AUTO else options.color
    color, why = chosen_color(sample(listing.sources))
    say(f"color: {color}: {why}")
    return color


def in_packing_order(listing: Listing, options: PackOptions) -> Listing:
    """The images in the order in which they are packed."""
    if options.shuffle is None:
        return listing
    return some(listing, np.random.default_rng(options.shuffle).permutation(len(listing.ids)))


def count_left_out(listing: Listing, units: Sequence[Unit], corrupt: Sequence[str], say: Say) -> int:
    """How many images could not be read; says so.

    Args:
        corrupt: why, of some of them.

    Raises:
        ThoraxError: none could.
    """
    packed = sum(len(unit.images) for unit in units)
    if not packed:
        raise ThoraxError(f"no image could be read, e.g. {corrupt[0] if corrupt else listing.ids[0]}")
    if left_out := len(listing.ids) - packed:
        example = f", e.g. {corrupt[0]}" if corrupt else ""
        count = f"{counted(left_out, 'image')} could not be read and {were(left_out)}"
        say(f"warning: {count} left out (--skip-corrupt){example}")
    return left_out


def verify(
    folder: Path, data_format: str = "auto", labels: Sequence[str] = (), processes: int = 1, say: Say = print
) -> None:
    """Checks a packed folder, or each part in it, against its checksums, and decodes every image.

    Raises:
        ThoraxError: no checksums, a file is missing, was changed or was cut short, or an image cannot be decoded.
    """
    parts = sorted(file.parent for file in folder.glob(f"*/{SUMS}")) if folder.is_dir() else []
    for part in parts or [folder]:
        files = pack_state.check_sums(part)
        listing = read_images(part, data_format, labels, say)
        progress = Progress(f"decoding {part}", len(listing.ids))
        for image in in_order(Encoding(), enumerate(listing.sources), processes):
            progress.step()
            if image.problem:
                raise ThoraxError(f"{image.problem}; pack it again")
        progress.close()
        written = f"{counted(files, 'file')} {are(files)} as written"
        say(f"{part}: {written}, {counted(len(listing.ids), 'image')} can be decoded")


def _say_what_is_lost(listing: Listing, options: PackOptions, say: Say) -> None:
    """RecordIO keeps neither label names nor patients."""
    say(f"labels are numbers in RecordIO; train with {labels_flag(listing.names)}")
    kept = options.encode == "keep"  # then DICOM headers are packed, too
    places = [source if isinstance(source, ByteRange) else str(source) for source in listing.sources]
    found = patients_of(listing.ids, places) if kept else [patient_of(image) for image in listing.ids]
    if found != list(listing.patients):
        say(
            f"warning: RecordIO keeps no patients, and these images' names {'and headers ' * kept}do not name them: "
            "split by patient first (prepare.py split, then pack --split), or pack shards"
        )


# -- Units -------------------------------------------------------------------------------------------------------------


def _pack_units(
    listing: Listing, out: Path, options: PackOptions, processes: int, corrupt: list[str], say: Say
) -> list[Unit]:
    """All units, of which those that lack are written; why images were left out is added to `corrupt`."""
    count, ranges = len(listing.ids), unit_places(len(listing.ids), options.shard_images)
    found = [pack_state.finished_unit(out, k, len(places), options, say) for k, places in enumerate(ranges)]
    if any(unit and unit.images for unit in found):
        say(f"going on: {sum(map(bool, found))} of {len(found)} parts are there")
    todo = [k for k, unit in enumerate(found) if unit is None]
    progress = Progress(f"packing {out}", count, start=count - sum(len(ranges[k]) for k in todo))
    units = {k: unit for k, unit in enumerate(found) if unit is not None}
    try:
        encoding = Encoding(options.size, options.encode, options.quality, options.color)
        sources = ((place, listing.sources[place]) for k in todo for place in ranges[k])
        images = in_order(encoding, sources, processes)
        for k in todo:
            good = readable(islice(images, len(ranges[k])), options, corrupt, progress.step)
            units[k] = write_unit(out, k, listing, good, options)
            pack_state.save_unit(out, k, units[k])
    finally:
        progress.close()
    return [units[k] for k in sorted(units)]


def unit_places(images: int, size: int) -> list[range]:
    """The places in the listing of each unit's images."""
    return [range(start, min(start + size, images)) for start in range(0, images, size)]


def readable(
    images: Iterable[Encoded], options: PackOptions, corrupt: list[str], step: Callable[[], None]
) -> Iterator[Encoded]:
    """The images that could be read; why others could not is added to `corrupt`, and `step` is called for each.

    Raises:
        ThoraxError: one could not, without skip_corrupt.
    """
    for image in images:
        step()
        if not image.problem:
            yield image
            continue
        if not options.skip_corrupt:
            raise ThoraxError(
                f"{image.problem}; give --skip-corrupt to go on without it, or fix or remove it and pack anew"
            )
        corrupt.append(image.problem)


def write_unit(out: Path, k: int, listing: Listing, images: Iterable[Encoded], options: PackOptions) -> Unit:
    """Writes unit k of the listing; it is for the caller to note that it is done."""
    file = pack_state.unit_file(out, k, options)
    kept: list[int] = []
    crcs: list[int] = []

    def counted() -> Iterator[Encoded]:
        for image in images:
            kept.append(image.place)
            crcs.append(zlib.crc32(image.data))
            yield image

    if options.to == "shards":
        members = ((f"{i.place:09d}", _member_json(listing, i.place), i.suffix, i.data) for i in counted())
        offsets, sizes, digest = shards.write_shard(file, members)
    else:
        sizes = []
        with recordio.Writer(file) as writer:
            offsets = [
                writer.write(recordio.pack_checked(i.data, _record_label(listing, i.place), i.place), i.place)
                for i in counted()
            ]
        digest = digest_of(file)
    return Unit(kept, offsets, sizes, file.stat().st_size, digest, crcs if options.to == "shards" else [])


def _member_json(listing: Listing, place: int) -> dict[str, Any]:
    """The .json beside an image in a shard."""
    row = listing.targets[place]
    about: dict[str, Any] = {"id": listing.ids[place], "patient": listing.patients[place]}
    if listing.exclusive:
        return {**about, "label": listing.names[int(row.argmax())]}
    values = (None if np.isnan(value) else int(value) for value in row)
    return {**about, "labels": dict(zip(listing.names, values, strict=True))}


def _record_label(listing: Listing, place: int) -> float | list[float]:
    """An image's label in RecordIO: one number for a class, a vector for labels."""
    numbers = numbers_of(listing, place)
    return numbers[0] if listing.exclusive else numbers


# -- The end -----------------------------------------------------------------------------------------------------------


def finish_shards(listing: Listing, out: Path, units: list[Unit]) -> dict[str, str]:
    """Writes the index; returns the sha256 of every file."""
    names = [f"shard-{k:06d}.tar" for k in range(len(units))]
    kept = some(listing, np.array([place for unit in units for place in unit.images], np.int64))
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
            np.concatenate([unit.crcs for unit in units]) if all(u.crcs or not u.images for u in units) else None,
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
            with pack_state.unit_file(out, k, PackOptions("rec")).open("rb") as part:
                shutil.copyfileobj(part, hashed, 1 << 20)
            for place, offset in zip(unit.images, unit.offsets, strict=True):
                index.append(f"{place}\t{begin + offset}\n")
                lines.append(f"{place}\t{numbers_text(numbers_of(listing, place))}\t{listing.ids[place]}\n")
            begin += unit.bytes
    texts = {f"{name}.idx": "".join(index), f"{name}.lst": "".join(lines)}
    for file, text in texts.items():
        write_text(text, out / file, "list of the records")
    sums = {file: hashlib.sha256(text.encode()).hexdigest() for file, text in texts.items()}
    return {f"{name}.rec": hashed.sha256.hexdigest(), **sums}
