"""Upload a folder to S3: in parallel, and only what is not there yet or has changed. Start it again to go on.

A file counts as unchanged when size and sha256 (kept with the object) or ETag are the same. --dry-run lists what would
be looked at, without credentials and without a network. Links are followed; hidden files stay here.

examples:
    python launch/prepare.py upload packed/ s3://bucket/images/pneumonia --dry-run
    python launch/prepare.py upload packed/ s3://bucket/images/pneumonia --kms-key alias/images --exclude "*.idx"
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax.text import counted, size
from thorax_launch.cli import flags

if TYPE_CHECKING:
    from thorax_launch.sagemaker.summaries import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its command line."""
    parser.add_argument("folder", metavar="FOLDER", help="what to upload, with everything below it")
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="where to")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out paths such as '*.idx' or 'test/*'; may be repeated",
    )
    parser.add_argument("--kms-key", metavar="KEY", help="encrypt with this KMS key (id, ARN or alias/NAME)")
    parser.add_argument("--processes", type=int, default=8, metavar="N", help="files at a time (default: 8)")
    parser.add_argument("--profile", metavar="NAME", help="profile of the AWS configuration")
    parser.add_argument("--region", metavar="NAME", help="AWS region; default: the profile's")
    parser.add_argument("--dry-run", action="store_true", help="say what would be uploaded; nothing is asked of AWS")
    flags.add_shown(parser.add_argument)


def run(args: argparse.Namespace) -> int:
    """Uploads, or says what would be uploaded."""
    from thorax_launch.cli import aws  # late: --help is instant
    from thorax_launch.sagemaker import s3

    found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])(?:/(.*))?", args.target)
    if not found:
        raise ThoraxError(f"{args.target} is not an S3 address; write s3://BUCKET/PREFIX")
    bucket, prefix = found[1], (found[2] or "").strip("/")
    if not 1 <= args.processes <= 256:
        raise ThoraxError(f"--processes {args.processes} is out of range; choose 1 to 256")
    if not args.folder:  # Path("") is the current folder
        raise ThoraxError("FOLDER is empty; is a shell variable unset?")
    folder = Path(args.folder)
    if not folder.is_dir():
        raise ThoraxError(f"{folder} is not a folder")
    files = s3.files_to_upload(folder, args.exclude)
    if not files:
        raise ThoraxError(
            f"{folder} has no files to upload{' besides those that --exclude leaves out' if args.exclude else ''};"
            " hidden ones stay here"
        )
    keys = {f"{prefix}/{name}" if prefix else name: path for name, path in files.items()}
    if args.dry_run:
        aws.show(*_dry(keys, args.target), args)
    done = s3.upload(keys, bucket, prefix, s3.client(args.profile, args.region), args.kms_key, args.processes)
    print(
        f"s3://{bucket}/{prefix}: {counted(done.uploaded, 'file')} uploaded ({size(done.bytes)}),"
        f" {done.unchanged:,} unchanged"
    )
    return 0


def _dry(keys: Mapping[str, Path], target: str) -> tuple[dict[str, Any], Summary]:
    """(what would be uploaded, in words)."""
    from thorax_launch.sagemaker.package import Upload
    from thorax_launch.sagemaker.summaries import Summary, rows

    bucket = target.removeprefix("s3://").partition("/")[0]
    uploads = tuple(Upload(f"s3://{bucket}/{key}", path) for key, path in keys.items())
    note = rows("note", ["AWS was not asked: files that are there already are counted too, and are not sent again"])
    files = [{"file": str(file.content), "to": file.uri, "bytes": file.size} for file in uploads]
    does = (f"copies of files below {target}",)
    cost = "cost:     S3's own price of requests and storage; no machine runs"
    return {"PutObject": files}, Summary(does, (cost,), uploads=uploads, notes=tuple(note))
