"""The command verify: its flags are in arguments.py; it prints a line a kind of trouble."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from thorax.dataset.checksum_lists import ALGORITHMS, KNOWN, Listed, list_text, read_list
from thorax.dataset.known_sets import SETS
from thorax.dataset.verifying import VerifyOptions, VerifyReport, made_list, verify, verify_known
from thorax.dataset.writing import write_text
from thorax.errors import ThoraxError
from thorax.files import check_output
from thorax.shown import json_lines
from thorax.text import counted, size


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 whole, 1 trouble.

    Raises:
        ThoraxError: flags that do not go together, no folder, or a list that cannot be read.
    """
    given = [flag for flag, value in (("--list", args.list), ("--set", args.published), ("--make", args.make)) if value]
    if len(given) > 1:
        raise ThoraxError(f"{' and '.join(given)}: choose one")
    if not 1 <= args.threads <= 256:
        raise ThoraxError(f"--threads {args.threads} is out of range; choose 1 to 256")
    if args.make and args.partial:
        raise ThoraxError("--partial with --make: a list is made of what is there; leave --partial out")
    for flag in ("json", "make"):
        if file := getattr(args, flag):
            check_output(file, f"--{flag}")
    if args.make:
        return _make(args)
    report = _report(args)
    for line in (*(f"note: {note}" for note in report.notes), *report.lines()):
        print(line)
    if args.json:
        found = {**vars(report), "whole": report.whole}
        write_text(json_lines(json.dumps(found, indent=1, ensure_ascii=False)) + "\n", args.json, "report")
    how = []
    if report.hashed or report.remembered:
        how = [f"{report.hashed:,} hashed now ({size(report.bytes)})", f"{report.remembered:,} unchanged since before"]
    end = "whole" if report.whole else "not whole"
    print("; ".join([f"{args.images}: {counted(report.files, 'file')} of the list, {end}", *how]))
    return 0 if report.whole else 1


def _report(args: argparse.Namespace) -> VerifyReport:
    own = None
    if args.published:
        if args.published not in SETS:
            raise ThoraxError(f"--set {args.published} must be one of {', '.join(SETS)}")
        known = SETS[args.published]
        if not known.archives:
            return verify_known(args.images, known, partial=args.partial)
        entries = [Listed(name, "md5", digest) for name, digest in known.archives.items()]
    else:
        own = _list(args)
        entries = read_list(own)
    return verify(args.images, entries, VerifyOptions(args.threads, args.anew, args.partial, own))


def _list(args: argparse.Namespace) -> Path:
    """The list: --list, or the one that lies in DIR."""
    own: Path | None = args.list
    if own is None:
        own = next((file for name in KNOWN if (file := args.images / name).is_file()), None)
        if own is None:
            raise ThoraxError(
                f"what is {args.images} to be held against? Give --list FILE, or --set NAME ({', '.join(SETS)}); or"
                " write a list of it with --make FILE"
            )
        print(f"note: list: {own}")
    return own


def _make(args: argparse.Namespace) -> int:
    ending = args.make.suffix.lower()
    algorithm = ending[1:] if ending[1:] in ALGORITHMS.values() else "sha256"
    entries = made_list(args.images, algorithm, VerifyOptions(args.threads, args.anew, leave_out=args.make))
    write_text(list_text(entries, table=ending == ".csv"), args.make, "list")
    total = sum(one.size or 0 for one in entries)
    print(f"{args.make}: {algorithm} of {counted(len(entries), 'file')}, {size(total)}")
    return 0
