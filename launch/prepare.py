"""Prepare films for training: check them, split them by patient, pack them, and send them to S3.

examples:
    python launch/prepare.py check films/
    python launch/prepare.py split films/ --out split.csv --test 0.15
    python launch/prepare.py pack films/ packed/ --to shards --size 256 --split split.csv
    python launch/prepare.py upload packed/ s3://bucket/films --dry-run
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

import _path  # noqa: F401  puts source_dir on the path
from thorax.errors import ThoraxError

#: Command -> its module in dataset/, with add_arguments(parser) and run(args) -> exit code, and its help.
COMMANDS = {
    "check": ("check", "find what is wrong with a set before training: unreadable, duplicate, leaking, contradicting films"),
    "stats": ("stats", "mean and deviation over all pixels, class counts, sizes, modes and bits, as a table and a picture"),
    "list": ("lst", "make .lst files from folders (or a table), as im2rec does"),
    "split": ("split", "split into train, validation and test by patient, stratified, with a hash"),
    "pack": ("pack", "pack films into tar shards or RecordIO, also at a smaller size"),
    "coco": ("coco", "turn COCO annotations into a table of labels"),
    "nih": ("nih", "turn the NIH ChestX-ray14 table into a table of labels"),
    "upload": ("upload", "upload a folder to S3, only what changed"),
}


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (told in the last line), 2 a wrong command line, 130 stopped."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = parser(given[0] if given else "").parse_args(given)
    try:
        code: int = args.run(args)
        return code
    except ThoraxError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def parser(wanted: str = "") -> argparse.ArgumentParser:
    """The command line; no module but the wanted command's is imported, so that --help is instant."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    commands = p.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module_name, told) in COMMANDS.items():
        if name != wanted:
            commands.add_parser(name, help=told)
            continue
        module: Any = importlib.import_module(f"dataset.{module_name}")
        one = commands.add_parser(name, help=told, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    return p


if __name__ == "__main__":
    sys.exit(main())
