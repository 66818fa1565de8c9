"""Score a whole folder of images with a bundle: on this machine, or as a SageMaker batch transform. One table, and the
scores.

examples:
    python launch/batch.py runs/NAME/model --data s3://BUCKET/images/test --out predictions.csv --wait
    python launch/batch.py --local runs/NAME/model --data IMAGES/test --out predictions.csv
    python launch/batch.py --local runs/NAME/model --outputs DOWNLOADED/out --out predictions.parquet
    python launch/batch.py --labels NORMAL,PNEUMONIA --outputs DOWNLOADED/out --out predictions.csv

The table has id, patient (where it is known), probability:LABEL, decision:LABEL (1: found) and, where labels are known,
target:LABEL
(blank: unknown). A run that is stopped or killed goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (told in the last line), 2 a wrong command line, 130 stopped."""
    p = parser()
    args = p.parse_args(arguments)
    if not args.data and not args.outputs:
        p.error("give --data DIR to score images, or --outputs DIR to read the .out files of a batch transform")
    if args.outputs and (args.bundle or bool(args.local) == bool(args.labels)):
        p.error("with --outputs name the bundle (--local BUNDLE) or the labels (--labels A,B), one of them")
    if not args.outputs and bool(args.local) == bool(args.bundle):
        p.error("name the bundle: --local BUNDLE to score images on this machine, or BUNDLE alone for AWS")
    if (args.labels or args.multi_label) and not args.outputs:
        p.error(
            f"{'--labels' if args.labels else '--multi-label'} is for --outputs without a bundle: a bundle knows its"
            " labels; leave it out"
        )
    if args.multi_label and not args.labels:
        p.error(
            "--multi-label is for --labels A,B: a bundle knows whether several of its labels may hold at once; leave"
            " it out"
        )
    if args.outputs and args.data_format != "auto" and not args.data:
        p.error("--data-format is for --data DIR; leave it out")
    if args.job_name and not args.bundle:
        p.error("--job-name is for a batch transform on AWS; leave it out")
    return flags.guarded(
        lambda: on_aws(args) if args.bundle else here(args), stopped="stopped; the same command goes on from here"
    )


def on_aws(args: argparse.Namespace) -> int:
    """As a batch transform."""
    from thorax_launch.sagemaker.transforms import batch  # late: --help is instant

    return batch(args)


def here(args: argparse.Namespace) -> int:
    """On this machine."""
    from thorax.scoring.batch import read_outputs, score_images

    flags.check_local(args)
    data = Path(args.data) if args.data else None
    if args.outputs:
        return read_outputs(
            args.outputs,
            args.out,
            bundle=args.local,
            labels=args.labels,
            multi_label=args.multi_label,
            data=data,
            data_format=args.data_format,
        )
    assert data is not None
    return score_images(
        args.local,
        data,
        args.out,
        data_format=args.data_format,
        batch=args.batch,
        workers=args.workers,
        threads=args.threads,
        precision=args.precision,
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument(
        "bundle",
        nargs="?",
        metavar="BUNDLE",
        help="on AWS: the model folder of a finished job, its model.tar.gz, or s3://.../model.tar.gz",
    )
    p.add_argument(
        "--data",
        metavar="DIR",
        help="images: a plain folder of them or, with --local, any format that training reads; on AWS also s3://",
    )
    p.add_argument("--local", type=Path, metavar="BUNDLE", help="score on this machine with the bundle in that folder")
    p.add_argument(
        "--outputs",
        type=Path,
        metavar="DIR",
        help="FILE.out files of a batch transform, copied from S3; --data DIR adds labels",
    )
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table: .csv or .parquet")
    p.add_argument(
        "--labels",
        type=lambda text: text.split(","),
        metavar="A,B",
        help="with --outputs and no bundle: what the numbers mean, in order",
    )
    p.add_argument("--multi-label", action="store_true", help="with --labels: any number of them may hold at once")
    p.add_argument(
        "--data-format", default="auto", metavar="FORMAT", help="format of --data (default: auto, look at it)"
    )
    p.add_argument("--batch", type=int, default=32, metavar="N", help="images of one forward pass (default: 32)")
    p.add_argument("--workers", type=int, metavar="N", help="processes that read images ahead (default: by the CPUs)")
    p.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="forward passes at once, each on one CPU (default: the CPUs that are free)",
    )
    p.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="default: bfloat16 where the machine has it and it is safe",
    )
    flags.add_transform(p)
    flags.add_settings(p)
    return p
