"""`thorax batch BUNDLE --endpoint NAME`: a folder of images through an endpoint that runs already."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.text import counted, size
from thorax_launch.cli import aws
from thorax_launch.clients import EndpointClient
from thorax_launch.endpoint_batch import images_in, score_folder
from thorax_launch.options import TransformOptions, entries
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.bundles import S3Bundle, description_folder
from thorax_launch.sagemaker.summaries import Summary
from thorax_launch.settings import AwsSettings


def run(args: argparse.Namespace, settings: AwsSettings) -> int:
    """Scores the folder; asks nothing first, because the endpoint is paid for already.

    Raises:
        ThoraxError: a wrong flag, or not one image was answered.
        flags.CommandDone: after --dry-run.
    """
    if args.job_name or args.resume:
        raise ThoraxError("--endpoint with --job-name or --resume: an endpoint has no job; the same command goes on")
    for entry in entries(TransformOptions):
        if getattr(args, entry.name) not in (None, "", []):
            raise ThoraxError(f"{entry.flag} with --endpoint: that is for a batch transform; the endpoint is as it is")
    place = f"{args.endpoint}/{args.target}" if args.target else args.endpoint
    bundle = S3Bundle(args.bundle, (), args.bundle, "")  # its description alone is read
    if args.dry_run:
        aws.show(*_dry(args, place), args)
    session = open_session(settings)
    with description_folder(bundle, client(session, "s3")) as described:
        asked = EndpointClient(args.endpoint, session, args.target)
        score_folder(asked, Path(args.data), args.out, described, place)
    return 0


def _dry(args: argparse.Namespace, place: str) -> tuple[dict[str, Any], Summary]:
    """(the calls, in words) of a run; nothing is asked."""
    names = images_in(Path(args.data), args.endpoint)
    total = size(sum((Path(args.data) / name).stat().st_size for name in names))
    does = (f"endpoint {place} about each image", f"the table goes to {args.out}")
    paid = "cost:     nothing more: the endpoint is paid for by the hour already"
    target = {"TargetModel": f"{args.target}.tar.gz"} if args.target else {}
    calls = {"InvokeEndpoint": {"EndpointName": args.endpoint, **target, "Body": [f"{args.data}/{n}" for n in names]}}
    reads = (f"{counted(len(names), 'image')} in {args.data}, {total}", *(names if args.full else ()))
    return calls, Summary(does, (paid,), reads, verb="asks")
