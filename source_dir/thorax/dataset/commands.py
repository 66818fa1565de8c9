"""The commands of `python -m thorax.dataset`: flags in, functions of this package called, results printed."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.formats.read_settings import read_options
from thorax.data.samples import Listing, SampleSet
from thorax.data.splits import check_parts, csv_text, split_table
from thorax.dataset.arguments import PARTS
from thorax.dataset.checking import check, check_page
from thorax.dataset.cluster.plan import COMMANDS as SHARED
from thorax.dataset.counts import PartSize
from thorax.dataset.finding_files import check_files_table, files_behind, write_files
from thorax.dataset.inventory import ImageInventory, read_inventory
from thorax.dataset.pack_state import PackOptions
from thorax.dataset.packing import pack, packed_color, verify
from thorax.dataset.pixel_stats import draw_stats, stats
from thorax.dataset.public_sets import coco_labels, nih_labels
from thorax.dataset.reading import label_names, labels_flag, read_images, some
from thorax.dataset.splitting import parts_by_test_list, split
from thorax.dataset.stats_page import stats_page
from thorax.dataset.writing import write_listing, write_lists, write_text
from thorax.errors import ThoraxError
from thorax.files import check_beside, check_output
from thorax.shown import json_lines, read_cell, trusted, visible, visible_lines
from thorax.text import counted


def run(args: argparse.Namespace) -> int:
    """Runs the command that the arguments name; returns its exit code.

    Raises:
        ThoraxError: a mistake in the arguments or in the images.
    """
    for name in ("images", *PARTS, *(f"{part}_lst" for part in PARTS), "out"):
        if isinstance(where := getattr(args, name, None), str) and "://" in where:
            more = "give `thorax prepare` --instances N for machines that work there, or "
            more = more if args.command in SHARED else ""
            raise ThoraxError(f"{where} is no folder of this machine: {more}copy it here (aws s3 sync {where} DIR)")
    return COMMANDS[args.command](args)


def inventory_of(args: argparse.Namespace) -> ImageInventory:
    """The images of IMAGES, or of --train, --validation and --test."""
    if args.processes < 1:
        raise ThoraxError(f"--processes {args.processes} is out of range; choose 1 or more")
    folders, lists = parts_of(args)
    return read_inventory(
        folders or args.images, args.data_format, label_names(args.labels), lists, read_options(args.set)
    )


def parts_of(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """(part -> place of its images, part -> place of its .lst); both are empty where IMAGES is given.

    Raises:
        ThoraxError: neither is given, or both, or a list has no images.
    """
    folders = {part: folder for part in PARTS if (folder := getattr(args, part))}
    if bool(args.images) == bool(folders):
        raise ThoraxError("give either IMAGES, a folder, or --train DIR with perhaps --validation DIR and --test DIR")
    lists = {part: folder for part in PARTS if (folder := getattr(args, f"{part}_lst"))}
    for part, folder in lists.items():
        if part not in folders:
            raise ThoraxError(f"--{part}-lst {folder} without --{part}: a list needs its images; give --{part} DIR")
    return folders, lists


def images_of(args: argparse.Namespace) -> Listing:
    """The images of IMAGES."""
    return read_images(args.images, args.data_format, label_names(args.labels), options=read_options(args.set))


def check_outputs(args: argparse.Namespace, *names: str) -> None:
    """Raises ThoraxError for the first of these flags whose file could not be written."""
    for name in names:
        if file := getattr(args, name):
            check_output(file, f"--{name}")


def _check_seed(flag: str, seed: int | None) -> None:
    """Raises ThoraxError: numpy takes no seed below 0."""
    if seed is not None and seed < 0:
        raise ThoraxError(f"{flag} {seed} is out of range; choose 0 or more")


def json_text(value: Any) -> str:
    """As files that the commands write."""
    return json_lines(json.dumps(value, indent=1, ensure_ascii=False)) + "\n"


def _console() -> Any:
    """Where tables are printed; wide where there is no terminal, so that nothing is cut."""
    from rich.console import Console

    return Console(file=trusted(sys.stdout), width=None if sys.stdout.isatty() else 140, highlight=False)


# -- check and stats ---------------------------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    images = inventory_of(args)
    check_outputs(args, "json", "html")
    check_files_table(args)
    report = check(images, args.smallest, args.patient_scope, args.processes)
    found = report.to_dict()
    show_report(found, args.full)
    write_files(found, args.files)
    if args.json:
        write_text(json_text(found), args.json, "report")
    if args.html:
        write_text(visible_lines(check_page(report)), args.html, "report")
    return end_check(found, (args.json, args.html, args.files))


def end_check(report: Mapping[str, Any], files: Sequence[Path | None]) -> int:
    """Prints the last line of a check; its exit code. `files`: what was written."""
    levels = [finding["level"] for finding in report["findings"]]
    images = sum(row["images"] for row in report["parts"])
    found = f"{counted(levels.count('error'), 'error')}, {counted(levels.count('warning'), 'warning')}"
    counts = f"{counted(images, 'image')}: {found}"
    print("; ".join([counts, *(str(file) for file in files if file)]))
    return 1 if "error" in levels else 0


def show_report(report: Mapping[str, Any], full: bool = False) -> None:
    """Prints what the set holds, and the findings with their files: what CheckReport.to_dict gives.

    Args:
        full: every file behind every finding, not the first few.
    """
    from rich.markup import escape
    from rich.table import Column, Table

    def lines(counts: dict[str, int], most: int) -> str:
        return escape("\n".join(f"{n} {visible(name)}" for name, n in list(counts.items())[:most]))

    table = Table("part", "images", "patients", "labels", Column("kinds", no_wrap=True), "sizes")
    for row in report["parts"]:
        sizes = " to ".join(dict.fromkeys(f"{s[0]}x{s[1]}" for s in (row["smallest"], row["largest"]) if s))
        counts = lines(row["labels"], 15), lines(row["kinds"], 6)
        table.add_row(visible(row["part"]), str(row["images"]), str(row["patients"]), *counts, sizes)
    _console().print(table)
    if report["findings"]:
        table = Table("", "check", "finding")
        for finding in report["findings"]:
            colour = "red" if finding["level"] == "error" else "yellow"
            words = "\n".join(escape(visible(line)) for line in (finding["message"], *files_behind(finding, full)))
            table.add_row(f"[{colour}]{finding['level']}[/]", finding["check"], words)
        _console().print(table)


def _stats(args: argparse.Namespace) -> int:
    images = inventory_of(args)
    for note in images.notes:
        print(f"note: {visible(note)}")
    check_outputs(args, "json", "png", "html")
    found = stats(images, args.processes, args.color)
    figures = found.to_dict()
    show_figures(figures)
    for problem in found.problems[:3]:
        print(f"warning: left out: {visible(problem)}")
    if args.json:
        write_text(json_text(figures), args.json, "figures")
    if args.png:
        draw_stats(found, args.png)
    if args.html:
        write_text(visible_lines(stats_page(found, figures_table(figures))), args.html, "page")
    return 0


def figures_table(figures: Mapping[str, Any]) -> dict[str, str]:
    """What Stats.to_dict gives, in words."""
    unreadable = f", {figures['unreadable']} not readable" if figures["unreadable"] else ""
    rows = {
        "images": f"{figures['images']} of {counted(figures['patients'], 'patient')}{unreadable}",
        "mean, std": f"{figures['mean']:.6f}, {figures['std']:.6f} (grey / 255, {figures['pixels']:,} pixels)",
    }
    if "mean_rgb" in figures:
        for name in ("mean", "std"):
            told = ", ".join(f"{v:.6f}" for v in figures[f"{name}_rgb"])
            rows[f"{name} of red, green, blue"] = f"{told} (level / 255)"
    for name, n in figures["labels"].items():
        share = n["images"] / max(figures["images"] - n["unknown"], 1)
        unknown = f", {n['unknown']} unknown" if n["unknown"] else ""
        rows[f"label {name}"] = f"{n['images']} ({share:.1%}){unknown}"
    for side in ("width", "height"):
        rows[side] = "{least} to {most}, median {median}".format(**figures[side])
    for what in ("kinds", "modes", "bits"):
        rows[what] = ", ".join(f"{name}: {n}" for name, n in figures[what].items())
    return rows


def show_figures(figures: Mapping[str, Any]) -> None:
    """Prints what Stats.to_dict gives."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("what", "value")
    for what, value in figures_table(figures).items():
        table.add_row(escape(visible(what)), escape(visible(value)))
    _console().print(table)


# -- list and split ----------------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    if not 0.02 <= args.ratio <= 1:
        raise ThoraxError(f"--ratio {args.ratio:g} is out of range; choose 0.02 to 1")
    _check_seed("--seed", args.seed)
    if args.out.endswith(os.sep) or Path(args.out).name in ("", ".."):
        raise ThoraxError(
            f"--out {args.out} is a folder; write how the lists in it are to be named, such as"
            f" {Path(args.out) / 'NAME'}"
        )
    if args.first is not None and args.first < 1:
        raise ThoraxError(f"--first {args.first} is out of range; choose 1 or more")
    listing = chosen_of(images_of(args), args.only_labelled, args.first)
    written = write_lists(listing, args.images, Path(args.out.removesuffix(".lst")), args.ratio, args.seed)
    for file, count in written.items():
        print(f"{file}: {counted(count, 'image')}")
    numbered = ", ".join(f"{k} {name}" for k, name in enumerate(listing.names))
    what = "classes" if listing.exclusive else "columns"
    print(f"{what}: {numbered}; train with {labels_flag(listing.names)}")
    return 0


def chosen_of(listing: Listing, only_labelled: bool, first: int | None) -> Listing:
    """The images that have a label, or the first of them; prints what is left out.

    Raises:
        ThoraxError: none is left.
    """
    rows = np.arange(len(listing.ids))
    if only_labelled:
        rows = np.flatnonzero((np.nan_to_num(listing.targets) > 0).any(axis=1))
        if left := len(listing.ids) - len(rows):
            print(f"note: {counted(left, 'image')} without any of the labels left out (--only-labelled)")
        if not len(rows):
            raise ThoraxError(f"--only-labelled: no image has any of {', '.join(listing.names)}")
    if first is not None and first < len(rows):
        print(f"note: the first {first} of {counted(len(rows), 'image')} (--first)")
        rows = rows[:first]
    return listing if len(rows) == len(listing.ids) else some(listing, rows)


def _split(args: argparse.Namespace) -> int:
    validation, test = (PartSize.read(f"--{name}", getattr(args, name)) for name in ("validation", "test"))
    _check_seed("--seed", args.seed)
    if args.out.suffix.lower() == ".parquet":
        raise ThoraxError(f"--out {args.out}: a split is written as CSV; name it {args.out.with_suffix('.csv')}")
    listing = images_of(args)
    check_outputs(args, "out")
    if args.test_list:
        listing = dataclasses.replace(listing, parts=parts_by_test_list(listing, args.test_list))
    elif args.anew:
        listing = dataclasses.replace(listing, parts=None)
    parts = split(listing, validation, test, args.seed)
    for warning in check_parts(parts, args.patient_scope, cut=listing.parts is None):
        print(f"warning: {visible(warning)}")
    text, digest = split_table(parts)
    write_text(text, args.out, "split", private=True)
    write_text(f"{digest}  {args.out.name}\n", args.out.with_name(f"{args.out.name}.sha256"), "checksum")
    print(csv_text(["part", "images", "patients", *parts[0].space.classes], [_row(part) for part in parts]), end="")
    print(f"{args.out}: sha256 {digest}")
    return 0


def _row(part: SampleSet) -> list[object]:
    return [part.part, len(part), len(set(part.patients)), *part.class_counts().values()]


# -- pack --------------------------------------------------------------------------------------------------------------


def _pack(args: argparse.Namespace) -> int:
    if args.verify:
        if args.out is not None:
            raise ThoraxError(f"--verify checks one packed folder and writes nothing; leave {args.out} out")
        verify(args.images, args.data_format, label_names(args.labels), args.processes)
        return 0
    options = pack_options(args)
    _check_out(args)
    listing = images_of(args)
    options = dataclasses.replace(options, color=packed_color(listing, options, print))
    for part, images in by_part(listing, args.split).items():
        name = part or args.images.resolve().name

        def say(line: str, part: str = part) -> None:
            print(f"{part}: {line}" if part else line, flush=True)

        pack(images, args.out / part, options, name, args.processes, say)
    return 0


def pack_options(args: argparse.Namespace) -> PackOptions:
    """Raises ThoraxError for values out of range and flags that do not go together."""
    for name, low, high in (("quality", 1, 100), ("shard_images", 1, 10**9), ("processes", 1, 1024)):
        value = getattr(args, name)
        if not low <= value <= high:
            raise ThoraxError(f"--{name.replace('_', '-')} {value} is out of range; choose {low} to {high}")
    _check_seed("--shuffle", args.shuffle)
    if args.size and not all(side.isdecimal() and 8 <= int(side) <= 8192 for side in args.size.split("x", 1)):
        raise ThoraxError(
            f"--size {args.size} is out of range; write the short side, such as 256, or WIDTHxHEIGHT, such as 256x256"
            " (8 to 8192)"
        )
    encode = args.encode or ("jpeg" if args.size else "keep")
    if args.size and encode == "keep":
        raise ThoraxError(
            f"--size {args.size} with --encode keep: a scaled image must be encoded anew; choose jpeg or png"
        )
    return PackOptions(
        args.to, args.size, encode, args.quality, args.shard_images, args.shuffle, args.skip_corrupt, args.color
    )


def _check_out(args: argparse.Namespace) -> None:
    """Raises ThoraxError for a folder that cannot be packed into."""
    if args.out is None:
        raise ThoraxError("OUT is missing: the folder to write to")
    if args.out.resolve() == args.images.resolve() or args.images.resolve() in args.out.resolve().parents:
        raise ThoraxError(f"{args.out} lies in the folder that is packed; choose one outside of {args.images}")


def by_part(listing: Listing, split: Path | None) -> dict[str, Listing]:
    """Images by part; "" where there are no parts."""
    marks = listing.parts if split is None else _read_split(split, listing.ids)
    if marks is None:
        return {"": listing}
    parts = np.array(marks)
    return {part: some(listing, np.flatnonzero(parts == part)) for part in PARTS if part in parts}


def _read_split(file: Path, ids: Sequence[str]) -> list[str]:
    """The part of every image.

    Raises:
        ThoraxError: not a table of the command split, or an image is not in it.
    """
    try:
        check_beside(file)
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ThoraxError(f"--split {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not rows or not {"id", "part"} <= set(rows[0]):
        raise ThoraxError(f"--split {file} is not a table with the columns id and part, as prepare.py split writes it")
    part = {read_cell(row["id"] or ""): row["part"] for row in rows}
    if lacking := [name for name in ids if part.get(name) not in PARTS]:
        some_names = ", ".join(lacking[:3])
        raise ThoraxError(
            f"--split {file} has no part (train, validation or test) for {counted(len(lacking), 'image')}, e.g."
            f" {some_names}; split again"
        )
    return [part[name] for name in ids]


# -- coco and nih ------------------------------------------------------------------------------------------------------


def _coco(args: argparse.Namespace) -> int:
    listing = coco_labels(args.images, label_names(args.labels), not args.no_crowds, args.drop_empty)
    return _write_table(listing, args)


def _nih(args: argparse.Namespace) -> int:
    return _write_table(nih_labels(args.images, not args.without_images), args)


def _verify(args: argparse.Namespace) -> int:
    from thorax.dataset import verify_command

    return verify_command.run(args)


def _write_table(listing: Listing, args: argparse.Namespace) -> int:
    write_listing(listing, args.images, args.out)
    counts = zip(listing.names, np.nansum(listing.targets, axis=0), strict=True)
    positives = ", ".join(f"{name} {int(count)}" for name, count in counts)
    marks = list(listing.parts or ())
    parts = "; " + ", ".join(f"{part} {marks.count(part)}" for part in dict.fromkeys(marks)) if marks else ""
    print(f"{args.out}: {counted(len(listing.ids), 'image')} ({positives}){parts}; paths are relative to {args.images}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "check": _check,
    "stats": _stats,
    "list": _list,
    "split": _split,
    "pack": _pack,
    "coco": _coco,
    "nih": _nih,
    "verify": _verify,
}
