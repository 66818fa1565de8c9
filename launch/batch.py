"""Score a whole folder of films with a bundle on this machine, or read what a SageMaker batch transform left: one table, and the scores.

examples:
    python launch/batch.py --local runs/NAME/model --data FILMS/test --out predictions.csv
    python launch/batch.py --local runs/NAME/model --outputs DOWNLOADED/out --out predictions.parquet
    python launch/batch.py --labels NORMAL,PNEUMONIA --outputs DOWNLOADED/out --out predictions.csv

The table has id, patient (where it is known), probability:LABEL, decision:LABEL (1: found) and, where labels are known, target:LABEL
(blank: unknown). A run that is stopped or killed goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _path  # noqa: F401  puts source_dir on the path
from thorax.errors import ThoraxError


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (told in the last line), 2 a wrong command line, 130 stopped."""
    p = parser()
    args = p.parse_args(arguments)
    if not args.data and not args.outputs:
        p.error("give --data DIR to score films, or --outputs DIR to read the .out files of a batch transform")
    if args.data and not args.outputs and not args.local:
        p.error("this version scores films on this machine only; name the bundle: --local BUNDLE")
    if args.outputs and bool(args.local) == bool(args.labels):
        p.error("with --outputs name the bundle (--local BUNDLE) or the labels (--labels A,B), one of them")
    from local.batch import read_outputs, score_films  # late: --help is instant

    try:
        if args.outputs:
            return read_outputs(args.outputs, args.out, bundle=args.local, labels=args.labels, multi_label=args.multi_label, data=args.data)
        return score_films(
            args.local,
            args.data,
            args.out,
            data_format=args.data_format,
            batch=args.batch,
            workers=args.workers,
            threads=args.threads,
            precision=args.precision,
        )
    except ThoraxError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("--local", type=Path, metavar="BUNDLE", help="the model folder of a finished job")
    p.add_argument("--data", type=Path, metavar="DIR", help="films, in any format that training reads, or a plain folder of them")
    p.add_argument("--outputs", type=Path, metavar="DIR", help="FILE.out files of a batch transform, copied from S3; --data DIR adds labels")
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table: .csv or .parquet")
    p.add_argument("--labels", type=lambda text: text.split(","), metavar="A,B", help="with --outputs and no bundle: what the numbers mean, in order")
    p.add_argument("--multi-label", action="store_true", help="with --labels: any number of them may hold at once")
    p.add_argument("--data-format", default="auto", metavar="FORMAT", help="format of --data (default: auto, look at it)")
    p.add_argument("--batch", type=int, default=32, metavar="N", help="films of one forward pass (default: 32)")
    p.add_argument("--workers", type=int, metavar="N", help="processes that read films ahead (default: by the CPUs)")
    p.add_argument("--threads", type=int, metavar="N", help="forward passes at once, each on one CPU (default: the CPUs that are free)")
    p.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="default: bfloat16 where the machine has it and it is safe")
    return p


if __name__ == "__main__":
    sys.exit(main())
