"""One bundle of several: one endpoint, one calibrated answer, and a warning where the members disagree.

The answer is the mean of the members' calibrated probabilities, calibrated and cut anew: on --data, or on what the
members' jobs saved of their validation images. Members agree in labels and colour; networks, sizes and preprocessing
may differ.

examples:
    python launch/ensemble.py runs/a runs/b runs/c --out runs/three
    python launch/ensemble.py runs/NAME --out runs/NAME-ensemble      # fold-0, fold-1 ... of a cross-validation
    python launch/ensemble.py a.tar.gz b.tar.gz --data IMAGES/val --out both
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (one line on standard error), 2 a wrong command line, 130 stopped."""
    args = parser().parse_args(arguments)
    return flags.guarded(lambda: ensemble(args))


def ensemble(args: argparse.Namespace) -> int:
    """Makes it; nothing is written where it raises ThoraxError."""
    from thorax.scoring import EvaluationOptions, make_ensemble  # torch takes a second: --help has none
    from thorax.tracking.progress import say

    options = EvaluationOptions(data_format=args.data_format, labels=args.labels, settings=tuple(args.set))
    made = make_ensemble(args.bundles, args.out, args.data, options, say)
    cuts = ", ".join(f"{name} {cut:.3f}" for name, cut in made.thresholds.items())
    print(f"thresholds: {cuts}\nwrote {made.folder}: weights {made.version}", flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument(
        "bundles",
        nargs="+",
        metavar="BUNDLE",
        help="bundles: folders, model.tar.gz, names of jobs; or one folder of a cross-validation (fold-0, fold-1 ...)",
    )
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new bundle's folder")
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="labelled images that no member was trained on: calibration, thresholds and the limit of disagreement are"
        " fitted on them (default: on the answers that the members' jobs saved of their validation images)",
    )
    p.add_argument("--data-format", default="auto", metavar="NAME", help="format of --data (default: as it looks)")
    p.add_argument("--labels", type=lambda text: tuple(text.split(",")), default=(), metavar="A,B", help="of --data")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="how --data is read")
    return p
