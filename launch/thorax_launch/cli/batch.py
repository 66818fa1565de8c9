"""Score a whole folder of images with a bundle, on this machine or as a SageMaker batch transform: one table.

examples:
    python launch/batch.py runs/NAME/model --data s3://BUCKET/images/test --out predictions.csv --wait
    python launch/batch.py --local runs/NAME/model --data IMAGES/test --out predictions.csv
    python launch/batch.py --local runs/NAME/model --outputs DOWNLOADED/out --out predictions.parquet
    python launch/batch.py --labels NORMAL,PNEUMONIA --outputs DOWNLOADED/out --out predictions.csv

The table has id, patient (where it is known), probability:LABEL, decision:LABEL (1: found) and, where labels are known,
target:LABEL (blank: unknown); the scores are printed then too. A run that is stopped or killed goes on where it was
when the same command is given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax.errors import ThoraxError
from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (one line on standard error), 2 a wrong command line, 130 stopped; with --wait
    those of `thorax follow`.
    """
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
    if args.set and not args.local:
        p.error("--set is for --local BUNDLE; leave it out")
    if args.tta is not None and (args.outputs or not args.local):
        p.error("--tta is for --local BUNDLE --data DIR; a batch transform's container is told by --env THORAX_TTA=N")
    for flag, value in (("--job-name", args.job_name), ("--resume", args.resume), ("--endpoint", args.endpoint)):
        if value and not args.bundle:
            p.error(f"{flag} is for a batch transform on AWS; leave it out")
    return flags.guarded(
        lambda: flags.on_aws(lambda: on_aws(args)) if args.bundle else on_this_machine(args),
        stopped="stopped; the same command goes on from here",
    )


def on_aws(args: argparse.Namespace) -> int:
    """As a batch transform; with --wait its answers become the table."""
    from thorax_launch.cli import aws, follow  # late: --help is instant
    from thorax_launch.options import TransformOptions, chosen
    from thorax_launch.sagemaker import transforms

    settings = aws.settings_of(args)
    options = chosen(TransformOptions, flags.options_of(args, TransformOptions))
    if args.target and not args.endpoint:
        raise ThoraxError(f"--target {args.target} is for --endpoint NAME; leave it out")
    if args.endpoint:
        from thorax_launch.cli.endpoint_batch import run

        return run(args, settings)
    planned = transforms.plan(args.bundle, args.data, options, settings, args.dry_run)
    if args.dry_run:
        aws.show(planned.calls(), planned.summary(), args)
    if not aws.agreed(planned.summary(), "start it?", args.yes):
        return 1
    labels = Path(args.data) if Path(args.data).is_dir() else None
    started = transforms.start(planned)
    if not started.sent:
        transforms.write_table(started, args.out, labels)
        return 0
    print(f"TransformJob {started.name} is started in {settings.region}", flush=True)
    if not args.wait:
        print(transforms.resume_line(started))
        return 0
    job = transforms.BatchJob(started)
    if code := follow.watch(job):
        return code
    transforms.finish(job, args.out, labels)
    return 0


def on_this_machine(args: argparse.Namespace) -> int:
    """Scores here, or reads downloaded answers."""
    from thorax.scoring import BatchOptions, predict_folder, read_outputs  # late: --help is instant

    flags.check_local(args)
    data = Path(args.data) if args.data else None
    if args.outputs:
        read_outputs(
            args.outputs,
            args.out,
            bundle=args.local,
            labels=args.labels,
            multi_label=args.multi_label,
            data=data,
            data_format=args.data_format,
        )
    else:
        assert data is not None  # says main
        options = BatchOptions(
            args.batch, args.workers, args.threads, args.precision, args.engine, tuple(args.set), args.tta
        )
        predict_folder(args.local, data, args.out, data_format=args.data_format, options=options)
    return 0


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
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with --local: how --data is read, such as where=Projection=PA (default: as in the bundle's training)",
    )
    p.add_argument("--batch", type=int, metavar="N", help="images of one forward pass (default: 32, on a GPU 128)")
    p.add_argument("--workers", type=int, metavar="N", help="processes that read images ahead (default: by the CPUs)")
    p.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="forward passes at once, each on one CPU (default: the CPUs that are free)",
    )
    p.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "int8"),
        default="auto",
        help="default: the fastest, as measured, that gives float32's answers",
    )
    flags.add_engine(p)
    flags.add_tta(p)
    flags.add_transform(p)
    add = flags.for_aws(p, p)
    add("--endpoint", default="", metavar="NAME", help="ask this endpoint, with BUNDLE behind it")
    add("--target", default="", metavar="NAME", help="with --endpoint: BUNDLE's name there, where it has several")
    flags.add_settings(p)
    return p
