"""Several runs in one table: AUC of each label with intervals, differences to the first, time, speed-up and cost.

A run is a job or its name, a bundle, a model.tar.gz, a training job on AWS, or predictions of any model: a table with
the images' names, probabilities (or answers) and truth, a .npy or .npz, or a folder of a batch transform's .out files.
Only the images and labels that all runs have are compared, matched by name.

examples:
    python launch/compare.py runs/small runs/large runs/half runs/weighted --html compare.html
    python launch/compare.py ours=runs/NAME theirs=predictions.csv --markdown table.md
    python launch/compare.py runs/NAME/model OTHER/model.tar.gz --data images/test
    python launch/compare.py runs/NAME builtin=outputs/ --labels NORMAL,PNEUMONIA --truth test.lst
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.console import columns, comma_list
from thorax.errors import ThoraxError
from thorax.files import check_output, write_whole
from thorax_launch.cli import flags

if TYPE_CHECKING:
    from thorax.scoring.compared.comparing import RunComparison
    from thorax.scoring.compared.sources import RunSource


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, 1 after an error (one line on standard error), 2 a wrong command line, 130 stopped."""
    args = parser().parse_args(arguments)
    return flags.guarded(lambda: compare(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument(
        "runs", nargs="+", metavar="RUN", help="what to compare, each perhaps as NAME=RUN; the first is the base"
    )
    p.add_argument("--data", type=Path, metavar="DIR_OR_TABLE", help="score the runs' bundles on these labelled images")
    p.add_argument("--data-format", default="auto", metavar="FORMAT", help="format of --data (default: auto)")
    p.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="how --data is read, as of `thorax evaluate`"
    )
    p.add_argument("--truth", type=Path, metavar="FILE", help="a table or .lst with the labels of the images")
    text = "names of numbers without names (.out files, arrays, .lst), in order; of two the second is positive"
    p.add_argument("--labels", type=comma_list, default=(), metavar="A,B,...", help=text)
    p.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="KEY=COLUMN",
        help="which column of a table is what: id, patient, part, truth, predicted, probability, or a label's name for"
        " its probabilities",
    )
    p.add_argument("--part", default="", help="of tables with parts: the one to compare (default: test)")
    p.add_argument("--metric", default="auc", help="of the rows of the labels (default: auc), such as f1 or ppv")
    p.add_argument(
        "--runs", dest="folder", type=Path, default=Path("runs"), metavar="DIR", help="folder of all local jobs"
    )
    p.add_argument("--resamples", type=int, default=1000, metavar="N", help="bootstrap resamples of patients (0: none)")
    for name, what in {
        "markdown": "as Markdown",
        "csv": "every number as CSV",
        "html": "a page with bars",
        "json": "as JSON",
    }.items():
        p.add_argument(
            f"--{name}",
            type=Path,
            metavar="FILE",
            help=f"also write it {what}" if name != "html" else f"also write {what}",
        )
    p.add_argument("--prices", type=Path, metavar="FILE", help="price table for the cost of jobs on AWS")
    p.add_argument("--profile", default="", metavar="NAME", help="AWS profile, for jobs on AWS")
    p.add_argument("--region", default="", metavar="REGION", help="where jobs on AWS are")
    return p


def compare(args: argparse.Namespace) -> int:
    """Compares, prints and writes; nothing is written where it raises ThoraxError."""
    from thorax.scoring.compared.comparing import CompareOptions, compare_runs  # late: --help imports no torch
    from thorax.scoring.compared.rows import sections

    for name in ("markdown", "csv", "html", "json"):
        if (file := getattr(args, name)) is not None:
            check_output(file, f"--{name}")
    for flag, file in {"--data": args.data, "--truth": args.truth}.items():
        if file is not None and not file.exists():
            raise ThoraxError(f"{flag} {file} does not exist")
    options = CompareOptions(
        truth=args.truth,
        labels=args.labels,
        columns=_pairs(args.columns),
        part=args.part,
        data_format=args.data_format,
        settings=tuple(args.set),
        resamples=args.resamples,
        runs=args.folder,
    )
    found = compare_runs([_run(given, args) for given in args.runs], args.data, options)
    sections(found, args.metric)  # an unknown metric is refused before anything is written
    print(found.table(columns(), args.metric), flush=True)
    for name, text in _texts(found, args).items():
        write_whole(text.encode("utf-8", "surrogateescape"), getattr(args, name), "comparison")
        print(f"wrote {getattr(args, name)}", flush=True)
    return 0


def _texts(found: RunComparison, args: argparse.Namespace) -> dict[str, str]:
    """What is written, by flag."""
    made: dict[str, Callable[[], str]] = {
        "markdown": lambda: found.markdown(args.metric),
        "csv": found.csv,
        "html": found.html,
        "json": lambda: json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n",
    }
    return {name: make() for name, make in made.items() if getattr(args, name) is not None}


def _pairs(given: list[str]) -> dict[str, str]:
    """KEY -> column of --columns."""
    for text in given:
        if not all(text.partition("=")):
            raise ThoraxError(f"--columns {text} must be KEY=COLUMN, such as id=image_name or Mass=p_mass")
    return {text.partition("=")[0]: text.partition("=")[2] for text in given}


def _run(given: str, args: argparse.Namespace) -> RunSource:
    """What is meant: on this machine, else the training job of that name on AWS.

    Raises:
        ThoraxError: it is nowhere.
    """
    from thorax.scoring.compared.sources import find_run

    if (found := find_run(given, args.folder)) is not None:
        return found
    here = f"{given} is no run: there is no such file or folder, and no job of that name in {args.folder}"
    in_s3 = given.startswith("s3://") or "=s3://" in given
    from thorax_launch.local.job_directory import NAME  # late: --help is instant

    if not in_s3 and not NAME.fullmatch(given.rpartition("=")[2]):
        raise ThoraxError(f"{here}; `thorax runs` lists the jobs of this machine")
    from thorax_launch.sagemaker.account import place
    from thorax_launch.sagemaker.compared_jobs import job_source, s3_source
    from thorax_launch.sagemaker.cost import Prices

    try:
        where = place(args.profile, args.region)
    except (ThoraxError, ModuleNotFoundError) as error:
        raise ThoraxError(f"{here}; nor is AWS asked for it: {error}") from None
    with_bundle = args.data is not None
    try:
        if in_s3:
            return s3_source(given, where, with_bundle)
        return job_source(given, where, with_bundle, Prices.load(args.prices) if args.prices else None)
    except ThoraxError as error:
        raise error if in_s3 else ThoraxError(f"{here}; on AWS: {error}") from None
