"""Write a faster network into a bundle: OpenVINO in int8, accepted only where its answers stay the same.

Without --data the network stays in float32. What is written lies beside the weights, which stay as they are.

examples:
    python launch/optimize.py runs/NAME/model --data IMAGES/val
    python launch/optimize.py runs/NAME/model --data images.csv --wheels WHEELS
    python launch/optimize.py runs/NAME/model
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax.console import bundle_script, guarded


def main(arguments: list[str] | None = None, program: str | None = None) -> int:
    """Exit code: 0 done, 1 an error (one line on standard error), 2 a wrong command line, 130 stopped."""
    return run(parser(program), arguments)


def run(p: argparse.ArgumentParser, arguments: list[str] | None) -> int:
    """Parses and optimizes; see main."""
    args = p.parse_args(arguments)
    return guarded(lambda: optimize(args))


def optimize(args: argparse.Namespace) -> int:
    """Writes the network and prints its figures; nothing is written where it raises ThoraxError."""
    from thorax.optimize import optimize_bundle  # torch takes a second: --help has none

    made = optimize_bundle(
        args.bundle, args.data, data_format=args.data_format, labels=args.labels, wheels=args.wheels, say=_say
    )
    print(f"{made.table()}\nwrote {made.folder / 'engine'}", flush=True)
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """The command line; `program` is its name in the usage line, by default that of the script."""
    p = bundle_script(
        __doc__, program, "labelled images that it was not trained on: a third calibrates, the others accept or reject"
    )
    p.add_argument(
        "--wheels", type=Path, metavar="DIR", help="OpenVINO's wheels, to go along for an endpoint without a network"
    )
    return p
