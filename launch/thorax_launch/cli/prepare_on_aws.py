"""`thorax prepare check|stats|pack --instances N`: the same command as a job on several machines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.cli import flags
from thorax_launch.options import PrepareOptions, chosen

#: Flags of each command that go along; the others say where things are, or are of this machine.
_FLAGS = {
    "check": ("patient_scope", "smallest"),
    "stats": (),
    "pack": ("to", "size", "encode", "quality", "shard_images", "shuffle", "skip_corrupt"),
}
_READING = ("data_format", "labels", "set")
#: Files that a command writes: flag -> its name among the job's results.
_PICTURES = {"check": ("html", "report.html"), "stats": ("png", "stats.png")}


def add_arguments(p: argparse.ArgumentParser, full: bool = True) -> None:
    """--instances and what belongs to it."""
    add = flags.for_aws(p, p.add_argument_group("on AWS: one processing job on several machines, of images in S3"))
    flags.add_options(add, PrepareOptions)
    add("--wait", action="store_true", help="until it is done; then fetch what it found")
    flags.add_settings(p, json=False, full=full)


def check_here(args: argparse.Namespace) -> None:
    """Refuses flags of AWS without --instances.

    Raises:
        ThoraxError: the first of them.
    """
    for flag, name, default in args.aws_only:
        if (value := getattr(args, name)) and value != default:
            raise ThoraxError(f"{flag} is for machines on AWS: give --instances N too, or leave it out")


def run(args: argparse.Namespace) -> int:
    """Starts the job; with --wait shows and fetches what it found."""
    from thorax_launch.cli import aws, follow  # late: --help is instant
    from thorax_launch.sagemaker import preparation

    settings = aws.settings_of(args)
    options = chosen(PrepareOptions, flags.options_of(args, PrepareOptions))
    places, given = _checked(args)
    planned = preparation.planned(args.command, places, given, options, settings)
    if args.dry_run:
        aws.show(dict(planned.request.parameters), planned.summary(), args)
    if not aws.agreed(planned.summary(), "start it?", args.yes):
        return 1
    started = preparation.start(planned)
    if not started.running and not started.done:
        print(f"ProcessingJob {started.name} is started in {settings.region}", flush=True)
    if not started.done:
        if not args.wait:
            print(f"when it is done: {started.again()}")
            return 0
        if code := follow.watch(preparation.PreparationJob(started)):
            return code
    flag, name = _PICTURES.get(args.command, ("", ""))
    return _show(args, preparation.result(started, {name: getattr(args, flag)} if flag else {}))


def _checked(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """(places by name, the other flags by name).

    Raises:
        ThoraxError: flags that are wrong, or that a job on several machines does not take.
    """
    from thorax.data.formats.read_settings import read_options  # late: numpy
    from thorax.dataset import commands, finding_files
    from thorax.dataset.reading import check_format
    from thorax.machine import free_cpus

    check_format(args.data_format)
    read_options(args.set)
    given = {name: getattr(args, name) for name in (*_READING, *_FLAGS[args.command])}
    if args.processes != free_cpus():  # of this machine, which is nothing to the others
        given["processes"] = args.processes
    if args.command == "pack":
        if args.verify:
            raise ThoraxError("--verify reads a packed folder of this machine; leave --instances out")
        if args.to != "shards":
            raise ThoraxError(
                f"--to {args.to} is one file, which one machine writes; leave --instances out, or pack shards"
            )
        commands.pack_options(args)
        return {"images": args.images, "out": args.out, "split": args.split}, given
    if args.command == "stats" and args.html:
        raise ThoraxError(f"--html {args.html} shows images of this machine; leave it out, or leave --instances out")
    if args.command == "check":
        finding_files.check_files_table(args)
    folders, lists = commands.parts_of(args)
    flag, _ = _PICTURES[args.command]
    commands.check_outputs(args, "json", flag)
    given[flag] = bool(getattr(args, flag))
    images = {"images": args.images} if args.images else {}
    return {**images, **folders, **{f"{part}_lst": place for part, place in lists.items()}}, given


def _show(args: argparse.Namespace, found: dict[str, Any]) -> int:
    """Prints and writes what the job found, as the command on one machine does; its exit code."""
    from thorax.dataset.commands import end_check, json_text, show_figures, show_report
    from thorax.dataset.finding_files import write_files
    from thorax.dataset.writing import write_text

    if args.command == "pack":
        print("\n".join(found["lines"]))
        return 0
    kept, what = (found["report"], "report") if args.command == "check" else (found["figures"], "figures")
    if args.command == "check":
        show_report(kept, args.full)
        write_files(kept, args.files)
    else:
        for note in found["notes"]:
            print(f"note: {note}")
        show_figures(kept)
        for problem in found["problems"]:
            print(f"warning: left out: {problem}")
    file: Path | None = args.json
    if file:
        write_text(json_text(kept), file, what)
    return end_check(kept, (file, args.html, args.files)) if args.command == "check" else 0
