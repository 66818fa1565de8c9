"""Open the report of a job on this machine in the browser; of a search its plot.

examples:
    python launch/open.py NAME
    python launch/open.py runs/NAME --print
"""

from __future__ import annotations

import webbrowser
from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 after an error."""
    p = flags.script(__doc__)
    p.add_argument("name", metavar="JOB", help="the job's or search's name, or its folder")
    p.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of all local jobs (default: runs)"
    )
    p.add_argument("--print", action="store_true", help="print where it is, and open nothing")
    args = p.parse_args(arguments)

    def work() -> int:
        from thorax_launch.local.runs import report_of  # late: --help is instant
        from thorax_launch.paths import relative

        page = report_of(args.runs, args.name)
        print(relative(page), flush=True)
        if not args.print and not webbrowser.open(page.absolute().as_uri()):
            print("no browser was found; open that file in one")
        return 0

    return flags.guarded(work)
