"""All runs on this machine: when, which recipe, how good, how long, and where the bundle is.

examples:
    python launch/runs.py
    python launch/runs.py --runs OTHER --json
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from thorax.shown import trusted
from thorax.text import counted
from thorax_launch.cli import flags

#: Where local jobs are, unless --runs says otherwise.
DEFAULT = Path("runs")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 after an error."""
    p = flags.script(__doc__)
    p.add_argument("--runs", type=Path, default=DEFAULT, metavar="DIR", help="folder of all local jobs (default: runs)")
    p.add_argument("--json", action="store_true", help="as JSON")
    args = p.parse_args(arguments)
    return flags.guarded(lambda: show(args.runs, args.json))


def show(runs: Path, as_json: bool) -> int:
    """Prints them, the newest first."""
    from rich.console import Console  # late: --help is instant
    from rich.table import Table

    from thorax_launch.invocation import command
    from thorax_launch.local.runs import all_runs
    from thorax_launch.paths import relative
    from thorax_launch.trials import wide

    found = all_runs(runs) if runs.exists() or runs != DEFAULT else []
    if as_json:
        print(json.dumps([dataclasses.asdict(run) for run in found], indent=1, default=str))
        return 0
    console = Console(file=trusted(sys.stdout), markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(file=trusted(sys.stdout), markup=False, highlight=False, width=240)
    rows = [
        {
            "job": run.name,
            "recipe": run.recipe,
            "began": f"{run.began:%Y-%m-%d %H:%M}",
            "status": run.status,
            "minutes": "" if run.minutes is None else f"{run.minutes:.1f}",
            "AUC": "" if run.auc is None else f"{run.auc:.3f} {run.part}",
            "bundle": relative(run.bundle) if run.bundle else "",
        }
        for run in found
    ]
    for left_out in ((), ("bundle",), ("bundle", "recipe"), ("bundle", "recipe", "minutes")):
        shown = [name for name in (rows[0] if rows else ()) if name not in left_out]
        table = Table()
        for name in shown:
            table.add_column(name, justify="right" if name in ("minutes", "AUC") else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(row[name] for name in shown))
        if wide(console, table) <= console.width:
            break
    if not rows:
        print(f"no runs in {relative(runs)} yet; `{command('train')} demo --local` makes one")
        return 0
    console.print(table)
    print(f"{counted(len(found), 'run')} in {relative(runs)}; `{command('open')} JOB` shows the report of one")
    return 0
