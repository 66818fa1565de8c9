"""Put the folds of a cross-validation on SageMaker together: their bundles, out-of-fold answers, scores; then refit.

examples:
    python launch/train.py pneumonia-resnet18 --train s3://BUCKET/train --folds 5 --job-name cv
    python launch/folds.py gather cv
    python launch/folds.py gather cv --refit --yes
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, 1 an error (the last line says which), 2 a wrong command line, 130 Ctrl-C."""
    p = flags.script(__doc__)
    p.add_argument("action", choices=("gather",), help="bring all folds here and score them together")
    p.add_argument("name", help="of the cross-validation: the --job-name of its jobs without -fold-K")
    p.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs/NAME goes (default: runs)"
    )
    p.add_argument("--refit", action="store_true", help="then start a job on all images, NAME-refit")
    p.add_argument("--yes", action="store_true", help="do not ask before the refit is started")
    flags.add_place(p)
    args = p.parse_args(arguments)
    return flags.guarded(lambda: flags.on_aws(lambda: gather(args)))


def gather(args: argparse.Namespace) -> int:
    """Gathers, and starts the refit where it was asked for.

    Raises:
        ThoraxError: a fold has not completed, or AWS refuses.
    """
    from thorax_launch.cli import aws  # late: --help is instant
    from thorax_launch.sagemaker.account import place
    from thorax_launch.sagemaker.folds import attach_folds
    from thorax_launch.sagemaker.submission import submit, summary

    found = attach_folds(args.name, place(args.profile or "", args.region or ""))
    for line in found.gather(args.runs).lines():
        print(line)
    print(f"table    {args.runs / args.name / 'out-of-fold' / 'out_of_fold.csv'}")
    if not args.refit:
        return 0
    plan, settings = found.plan_refit(args.runs)
    if not aws.agreed(summary(plan, settings), "start it?", args.yes):
        return 1
    if submit(plan, settings):
        print(f"{plan.request.resource} {plan.name} is started in {settings.region}", flush=True)
    return 0
