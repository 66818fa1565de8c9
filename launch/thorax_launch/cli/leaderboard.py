"""The jobs of a search so far, best first: table, CSV, plot, and the command that trains the best once more.

examples:
    python launch/leaderboard.py pneumonia-resnet18-261121-101500
    python launch/leaderboard.py sweep --local --metrics f1,loss --csv sweep.csv --plot sweep.png
    python launch/leaderboard.py NAME --deploy-best --endpoint-name chest --instance-type ml.m5.large
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax.files import check_output
from thorax_launch.cli import deploy, flags

if TYPE_CHECKING:
    from thorax_launch.trials import Leaderboard, Trial


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 after an error."""
    p = flags.script(__doc__)
    p.add_argument("name", help="of the search: the tuning job's, or with --local the folder's in --runs")
    flags.add_local(p, "a search on this machine, from its folder in --runs; no account needed")
    p.add_argument(
        "--metrics",
        default="",
        metavar="NAME,NAME",
        help="further metrics of each job's best epoch beside the objective, such as f1,loss",
    )
    p.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")
    p.add_argument("--plot", type=Path, metavar="FILE", help="also draw it there, a PNG")
    p.add_argument(
        "--deploy-best",
        nargs=argparse.REMAINDER,
        metavar="FLAG",
        help="then deploy the best job's bundle; what follows is for `thorax deploy`",
    )
    flags.add_place(p)
    args = p.parse_args(arguments)

    return flags.guarded(lambda: local(args) if args.local else flags.on_aws(lambda: on_aws(args)))


def local(args: argparse.Namespace) -> int:
    """The jobs of a search on this machine."""
    from thorax_launch.local.study import load, study_leaderboard  # late: --help is instant
    from thorax_launch.trials import metric_names

    check_files(args)
    flags.check_local(args)
    shown = metric_names(args.metrics)
    args.runs, args.name = flags.job_in(args.runs, args.name)
    folder = args.runs.absolute() / args.name
    board = dataclasses.replace(study_leaderboard(load(folder, args.name), folder), shown=shown)
    show(board, args)
    if args.deploy_best is None:
        return 0
    return deploy.main(["--local", str(args.runs / args.name / best(board).name / "model"), *args.deploy_best])


def on_aws(args: argparse.Namespace) -> int:
    """The jobs of a search on SageMaker."""
    from thorax_launch.cli import best_endpoint  # late: --help is instant
    from thorax_launch.sagemaker.account import place
    from thorax_launch.sagemaker.search import TuningJob
    from thorax_launch.trials import metric_names

    check_files(args)
    where = place(args.profile, args.region)
    if args.deploy_best is not None:
        best_endpoint.check(args.deploy_best)
    board = TuningJob(args.name, where).leaderboard(metric_names(args.metrics))
    show(board, args)
    return 0 if args.deploy_best is None else best_endpoint.deploy_job(best(board).name, where, args.deploy_best)


def check_files(args: argparse.Namespace) -> None:
    """Raises ThoraxError for a file that cannot be written."""
    for flag, file in (("--csv", args.csv), ("--plot", args.plot)):
        if file:
            check_output(file, flag)


def show(board: Leaderboard, args: argparse.Namespace) -> None:
    """Prints the table and writes the files."""
    board.print()
    if args.csv:
        board.write_csv(args.csv)
        print(f"wrote {args.csv}")
    if args.plot and board.write_plot(args.plot):
        print(f"wrote {args.plot}")


def best(board: Leaderboard) -> Trial:
    """Raises ThoraxError: there is none yet."""
    if board.best is None:
        raise ThoraxError(f"--deploy-best: no job of {board.name} has come to a value yet")
    return board.best
