"""The jobs of a search so far, best first: table, CSV, plot, and the command that trains the best once more.

examples:
    python launch/leaderboard.py pneumonia-resnet18-261121-101500
    python launch/leaderboard.py sweep --local --csv sweep.csv --plot sweep.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import _path  # noqa: F401  puts source_dir on the path
import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 after an error."""
    p = flags.script(__doc__)
    p.add_argument("name", help="of the search: the tuning job's, or with --local the folder's in --runs")
    flags.add_local(p)
    p.add_argument("--csv", type=Path, metavar="FILE", help="also write the table there")
    p.add_argument("--plot", type=Path, metavar="FILE", help="also draw it there, a PNG")
    p.add_argument("--profile", default="", metavar="NAME", help="AWS profile")
    p.add_argument("--region", default="", metavar="REGION")
    args = p.parse_args(arguments)

    def work() -> int:
        if args.local:  # late: --help is instant
            from local.trial import load, study_leaderboard

            board = study_leaderboard(load(args.runs.absolute() / args.name, args.name))
        else:
            from aws.account import place
            from aws.search import leaderboard

            board = leaderboard(args.name, place(args.profile, args.region))
        board.print()
        if args.csv:
            board.write_csv(args.csv)
        if args.plot:
            board.write_plot(args.plot)
        return 0

    return flags.guarded(work)


if __name__ == "__main__":
    sys.exit(main())
