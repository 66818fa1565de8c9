"""`thorax batch BUNDLE --endpoint NAME`: a folder of images through an endpoint that runs already."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from thorax.errors import ThoraxError
from thorax_launch.cli import flags
from thorax_launch.clients import EndpointClient
from thorax_launch.endpoint_batch import score_folder
from thorax_launch.options import TransformOptions, entries
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.bundles import S3Bundle, description_folder
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
    bundle = S3Bundle(args.bundle, (), args.bundle, "")  # its description alone is read
    if args.dry_run:
        print(f"endpoint {args.endpoint} would be asked about every image in {args.data}", file=sys.stderr)
        raise flags.CommandDone
    session = open_session(settings)
    with description_folder(bundle, client(session, "s3")) as described:
        asked = EndpointClient(args.endpoint, session, args.target)
        place = f"{args.endpoint}/{args.target}" if args.target else args.endpoint
        score_folder(asked, Path(args.data), args.out, described, place)
    return 0
