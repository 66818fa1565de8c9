"""Prepare images for training: check them, split them by patient, pack them, and send them to S3.

examples:
    python launch/prepare.py check images/
    python launch/prepare.py split images/ --out split.csv --test 0.15
    python launch/prepare.py pack images/ packed/ --to shards --size 256 --split split.csv
    python launch/prepare.py upload packed/ s3://bucket/images --dry-run
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from thorax_launch.cli import flags

#: Command -> its module in dataset/, with add_arguments(parser) and run(args) -> exit code, and what it does.
COMMANDS = {
    "check": (
        "thorax.dataset.check",
        "find what is wrong with a set before training: unreadable, duplicate, leaking, contradicting images",
    ),
    "stats": (
        "thorax.dataset.stats",
        "mean and deviation over all pixels, class counts, sizes, modes and bits, as a table and a picture",
    ),
    "list": ("thorax.dataset.lst", "make .lst files from folders (or a table), as im2rec does"),
    "split": ("thorax.dataset.split", "split into train, validation and test by patient, stratified, with a hash"),
    "pack": ("thorax.dataset.pack", "pack images into tar shards or RecordIO, also at a smaller size"),
    "coco": ("thorax.dataset.coco", "turn COCO annotations into a table of labels"),
    "nih": ("thorax.dataset.nih", "turn the NIH ChestX-ray14 table into a table of labels"),
    "upload": ("thorax_launch.sagemaker.upload", "upload a folder to S3, only what changed"),
}


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (told in the last line), 2 a wrong command line, 130 stopped."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = parser(given[0] if given else "").parse_args(given)
    return flags.guarded(lambda: args.run(args), stopped="stopped; the same command goes on from here")


def parser(wanted: str = "") -> argparse.ArgumentParser:
    """The command line; no module is imported but that of the command that is wanted."""
    p = flags.script(__doc__)
    commands = p.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (file, does) in COMMANDS.items():
        one = commands.add_parser(
            name, help=does, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        if name == wanted:
            module: Any = importlib.import_module(file)
            one.description = module.__doc__
            module.add_arguments(one)
            one.set_defaults(run=module.run)
    return p
