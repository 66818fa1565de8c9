"""Score a bundle on labelled images, or score a finished table of predictions: metrics with intervals, and a report.

examples:
    python launch/evaluate.py runs/NAME/model --data IMAGES/test --html report.html
    python launch/evaluate.py runs/NAME/model --data images.csv --by sex age view --json scores.json
    python launch/evaluate.py runs/NAME/model --data IMAGES/test --compare runs/OTHER/model
    python launch/evaluate.py runs/NAME/model --predictions batch.csv --data IMAGES/test
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (told in the last line), 2 a wrong command line, 130 stopped."""
    p = parser()
    args = p.parse_args(arguments)
    if not (args.data or args.predictions):
        p.error("give --data DIR_OR_TABLE, --predictions FILE, or both")
    return flags.guarded(lambda: scored(args))


def scored(args: argparse.Namespace) -> int:
    """Scores, prints and writes."""
    from thorax.dataset.reading import label_names  # late: --help is instant
    from thorax.scoring.evaluation import evaluate

    evaluate(
        args.bundle,
        data=args.data,
        data_format=args.data_format,
        lists=args.data_lst,
        labels=label_names(args.labels),
        predictions=args.predictions,
        compare_with=args.compare,
        by=args.by,
        table=args.subgroups,
        json_file=args.json,
        html_file=args.html,
        resamples=args.resamples,
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument("bundle", type=Path, help="the model folder of a finished job, or the job's folder")
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR_OR_TABLE",
        help="labelled images: a folder as for training, or one table in it",
    )
    p.add_argument(
        "--data-format", default="auto", metavar="FORMAT", help="format of --data (default: auto, look at it)"
    )
    p.add_argument(
        "--data-lst",
        type=Path,
        metavar="DIR",
        help="the folder with the .lst of the images of --data (the channel test_lst)",
    )
    p.add_argument(
        "--labels", default="", metavar="A,B,...", help="names of numbered labels of --data (.lst, RecordIO), in order"
    )
    p.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="score this CSV or Parquet of id, probability:LABEL ... instead of running the network",
    )
    p.add_argument(
        "--compare",
        type=Path,
        metavar="BUNDLE2",
        help="another bundle, scored on the same images: difference in AUC, interval, p",
    )
    p.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="subgroups by these columns of the table of --data, such as sex age view",
    )
    p.add_argument(
        "--subgroups",
        type=Path,
        metavar="TABLE",
        help="CSV or Parquet with id (or path) and the columns of --by, if --data has none",
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    p.add_argument("--html", type=Path, metavar="FILE", help="write the report here: one page that needs no network")
    p.add_argument(
        "--resamples",
        type=int,
        default=1000,
        metavar="N",
        help="bootstrap resamples of patients for the intervals (default: 1000, 0: none)",
    )
    return p
