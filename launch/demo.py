"""The demo: synthetic chest films, a local training job on them, its scores.

usage: python launch/demo.py [--runs DIR] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import _path  # noqa: F401  puts source_dir on the path
from thorax.errors import ThoraxError


def main(arguments: list[str] | None = None) -> int:
    """Exit code: as launch/train.py."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of all local jobs (default: runs)")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a hyperparameter; may be repeated")
    args = p.parse_args(arguments)
    from local.training import new_name, train  # late: --help is instant
    from recipe import Recipe

    try:
        recipe = Recipe.load("demo")
        name = new_name(recipe)
        code = train(recipe, runs=args.runs, job_name=name, settings=args.set)
        if code == 0:
            print(f"\n{result_table(args.runs / name / 'output' / 'data' / 'metrics.json')}")
        return code
    except ThoraxError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return 1


def result_table(metrics: Path) -> str:
    """The scores that a run left, as text: validation, which chose the threshold, and test."""
    from thorax.evaluation.wording import table
    from thorax.labels import LabelSpace

    stored = json.loads(metrics.read_text(encoding="utf-8"))
    scores = {part: stored[part] for part in ("validation", "test") if part in stored}
    return table(scores, LabelSpace.from_dict(stored["labels"]))


if __name__ == "__main__":
    sys.exit(main())
