"""Ask a model about images: a bundle in this process, a server by its URL, or a SageMaker endpoint by its name.

examples:
    python launch/predict.py runs/NAME/model image.jpeg
    python launch/predict.py http://127.0.0.1:8080 images/ --json
    python launch/predict.py my-endpoint image.dcm --explain maps/ --bucket my-bucket
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error or an image that failed (a line each), 2 a wrong command line, 130 stopped."""
    args = parser().parse_args(arguments)

    def work() -> int:
        from thorax_launch.clients import client_for  # late: --help is instant
        from thorax_launch.predictions import predict

        return predict(
            client_for(args.model, bucket=args.bucket, target=args.target, variant=args.variant, tta=args.tta),
            args.images,
            as_json=args.json,
            explain=args.explain,
            label=args.label,
            accept=args.accept,
            every=args.all,
        )

    return flags.guarded(work)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument("model", metavar="MODEL", help="a bundle's folder, a URL, or the name of a SageMaker endpoint")
    p.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="images, or folders of images")
    p.add_argument("--target", default="", metavar="NAME", help="the bundle to ask, where MODEL has several")
    p.add_argument("--variant", default="", metavar="NAME", help="the variant to ask, where an endpoint has several")
    p.add_argument("--json", action="store_true", help="a line of JSON per image instead of a table")
    p.add_argument(
        "--all",
        action="store_true",
        help="the table has the probability of every label, not only of those predicted and a few of the rest",
    )
    p.add_argument("--explain", type=Path, metavar="DIR", help="write heat maps there: IMAGE.LABEL.png")
    p.add_argument("--label", default="", help="with --explain: of this label alone")
    flags.add_tta(p)
    p.add_argument("--accept", metavar="TYPE", help="print the responses as they come in this form, such as text/csv")
    p.add_argument(
        "--bucket", metavar="NAME", help="S3 bucket for images over the payload limit; without it they are sent smaller"
    )
    return p
