"""Score a bundle on labelled images, or score a finished table of predictions: metrics with intervals, and a report.

examples:
    python launch/evaluate.py runs/NAME/model --data IMAGES/test --html report.html
    python launch/evaluate.py runs/NAME/model --data images.csv --by sex age view --json scores.json
    python launch/evaluate.py runs/NAME/model --data IMAGES/test --compare runs/OTHER/model
    python launch/evaluate.py runs/NAME/model --predictions batch.csv --data IMAGES/test
    python launch/evaluate.py runs/NAME/model --data OTHER_SET --map labels.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax.console import add_tta, bundle_script, columns, guarded
from thorax.errors import ThoraxError


def main(arguments: list[str] | None = None, program: str | None = None) -> int:
    """Exit code: 0 done, 1 an error (one line on standard error), 2 a wrong command line, 130 stopped."""
    return run(parser(program), arguments)


def run(p: argparse.ArgumentParser, arguments: list[str] | None) -> int:
    """Parses and scores; see main."""
    args = p.parse_args(arguments)
    if not (args.data or args.predictions):
        p.error("give --data DIR_OR_TABLE, --predictions FILE, or both")
    return guarded(lambda: score(args))


def score(args: argparse.Namespace) -> int:
    """Scores, prints and writes; nothing is written where it raises ThoraxError."""
    from thorax.scoring import EvaluationOptions, run_evaluation  # torch takes a second: --help has none

    check_files(args.json, args.html)
    options = EvaluationOptions(
        data_format=args.data_format,
        data_lst=args.data_lst,
        labels=args.labels,
        settings=tuple(args.set),
        predictions=args.predictions,
        compare_with=args.compare,
        by=tuple(args.by),
        subgroup_table=args.subgroups,
        studies=args.studies,
        label_map=args.map,
        resamples=args.resamples,
        tta=args.tta,
    )
    evaluation = run_evaluation(args.bundle, args.data, options)
    print(evaluation.table(columns()), flush=True)
    for file, write in ((args.json, evaluation.write_json), (args.html, evaluation.write_report)):
        if file is not None:
            write(file)
            print(f"wrote {file}", flush=True)
    return 0


def check_files(*files: Path | None) -> None:
    """Raises ThoraxError for a file that could not be written, before any image is read."""
    for file in filter(None, files):
        if file.is_dir() or not file.absolute().parent.is_dir():
            why = "it is a folder" if file.is_dir() else f"there is no folder {file.parent}"
            raise ThoraxError(f"{file} cannot be written: {why}; name a file")


def parser(program: str | None = None) -> argparse.ArgumentParser:
    """The command line; `program` is its name in the usage line, by default that of the script."""
    p = bundle_script(__doc__, program, "labelled images: a folder as for training, or one table in it")
    p.add_argument(
        "--data-lst",
        type=Path,
        metavar="DIR",
        help="the folder with the .lst of the images of --data (the channel test_lst)",
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="how --data is read: path_column, patient_column, label_columns, where, blank, readers ...; may be"
        " repeated (default: as in the bundle's training, but with --map)",
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
    p.add_argument(
        "--studies",
        choices=("mean", "max", "none"),
        default="mean",
        help="where studies have several images, score studies, too, by this of their images' probabilities (default:"
        " mean)",
    )
    p.add_argument(
        "--map",
        metavar="FILE",
        help="labels of --data that are the bundle's under other names: a YAML file with lines such as"
        " `Lung Opacity: [Infiltration, Consolidation]`, or the word common: names of public sets that mean the same",
    )
    add_tta(p)
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
