"""Data sets before training: check, measure, list, split, pack and convert them.

examples:
    python -m thorax.dataset check images/
    python -m thorax.dataset split images/ --out split.csv --test 0.15
"""

from __future__ import annotations

import argparse
import sys

from thorax.console import guarded
from thorax.dataset.arguments import parser

STOPPED = "stopped; the same command goes on from here"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (the last line says which), 2 a wrong command line, 130 stopped."""
    args = parser(__doc__)[0].parse_args(arguments)
    return guarded(lambda: run(args), STOPPED)


def run(args: argparse.Namespace) -> int:
    """Runs the command that the arguments name; see commands.run."""
    from thorax.dataset import commands  # late: --help imports no numpy

    return commands.run(args)


if __name__ == "__main__":
    sys.exit(main())
