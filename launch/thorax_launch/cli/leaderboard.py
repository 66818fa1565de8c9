"""The jobs of a search so far, best first: table, CSV, plot, and the command that trains the best once more.

examples:
    python launch/leaderboard.py pneumonia-resnet18-261121-101500
    python launch/leaderboard.py sweep --local --csv sweep.csv --plot sweep.png
    python launch/leaderboard.py NAME --deploy-best --endpoint-name chest --instance-type ml.m5.large
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax.files import check_output
from thorax_launch.cli import flags

if TYPE_CHECKING:
    from thorax_launch.trials import Leaderboard


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 after an error."""
    p = flags.script(__doc__)
    p.add_argument("name", help="of the search: the tuning job's, or with --local the folder's in --runs")
    flags.add_local(p, "a search on this machine, from its folder in --runs; no account needed")
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

    def work() -> int:
        for flag, file in (("--csv", args.csv), ("--plot", args.plot)):
            if file:
                check_output(file, flag)
        if args.local:  # late: --help is instant
            from thorax_launch.local.study import load, study_leaderboard

            flags.check_local(args)
            board = study_leaderboard(load(args.runs.absolute() / args.name, args.name))
        else:
            from thorax_launch.sagemaker.account import place
            from thorax_launch.sagemaker.search import TuningJob

            board = TuningJob(args.name, place(args.profile, args.region)).leaderboard()
        board.print()
        if args.csv:
            board.write_csv(args.csv)
        if args.plot:
            board.write_plot(args.plot)
        return 0 if args.deploy_best is None else deploy_best(board, args)

    return flags.guarded(work)


def deploy_best(board: Leaderboard, args: argparse.Namespace) -> int:
    """Deploys the best job's bundle."""
    from thorax_launch.cli import deploy

    if board.best is None:
        raise ThoraxError(f"--deploy-best: no job of {args.name} has come to a value yet")
    if args.local:
        return deploy.main(["--local", str(args.runs / args.name / board.best.name / "model"), *args.deploy_best])
    from thorax_launch.sagemaker.account import place
    from thorax_launch.sagemaker.jobs import TrainingJob

    where = [word for name in ("profile", "region") if (value := getattr(args, name)) for word in (f"--{name}", value)]
    best = TrainingJob(board.best.name, place(args.profile, args.region))
    return deploy.main([best.bundle, *where, *args.deploy_best])
