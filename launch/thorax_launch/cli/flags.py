"""Flags that several scripts share, and the one way in which a script ends.

A mistake is one line, never a traceback.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError

#: What a job on this machine has no use for.
AWS_ONLY = (
    "instance_type",
    "instance_count",
    "volume_gb",
    "max_hours",
    "spot",
    "max_wait_hours",
    "warm_pool_minutes",
    "input_mode",
    "content_type",
    "env",
    "wheels",
    "settings",
    "profile",
    "region",
    "role",
    "bucket",
    "prefix",
    "subnets",
    "security_groups",
    "kms_key",
    "volume_kms_key",
    "training_image",
    "network_isolation",
    "encrypt_traffic",
    "tag",
    "prices",
    "explain_settings",
    "dry_run",
    "yes",
    "wait",
    "resume",
    "debugger",
    "profiler",
    "warm_start",
    "transfer",
    "parallel_jobs",
    "endpoint_name",
    "serverless",
    "asynchronous",
    "image",
    "memory_mb",
    "concurrency",
    "capture",
    "autoscale",
    "autoscale_target",
    "register",
    "concurrent",
    "payload_mb",
    "start",
)
#: Channels with a flag of their own; --channel names any other.
CHANNELS = ("train", "validation", "test", "weights", "model")


class CommandDone(Exception):  # noqa: N818  no error
    """All that was asked for is said; the command ends well."""


def script(document: str | None) -> argparse.ArgumentParser:
    """The parser of a script whose help is its module's document."""
    return argparse.ArgumentParser(
        description=document, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def guarded(work: Callable[[], int], stopped: str = "stopped by Ctrl-C") -> int:
    """The exit code of `work`: its own, 1 after a mistake, told in one line on standard error, 130 after Ctrl-C, told
    as `stopped`.

    A reader that has seen enough (`| head`) is no error: the work goes on to its end, and what it says goes nowhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream is getattr(sys, f"__{name}__"):  # not a test's or a notebook's
            stream.flush()
            raw = io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False))
            setattr(
                sys,
                name,
                io.TextIOWrapper(
                    raw, stream.encoding, stream.errors, line_buffering=stream.line_buffering or stream.write_through
                ),
            )
    try:
        return work()
    except CommandDone:
        return 0
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except ThoraxError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return 1


class _Output(io.FileIO):
    """Takes what nobody reads any more."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def positive(flag: str, value: int | None) -> int | None:
    """The number; None where it was not given.

    Raises:
        ThoraxError: it is below 1.
    """
    if value is not None and value < 1:
        raise ThoraxError(f"{flag} {value} must be 1 or more")
    return value


def check_local(args: argparse.Namespace) -> None:
    """Refuses flags of AWS beside --local, lest a --dry-run runs.

    Raises:
        ThoraxError: the first of them.
    """
    for name in AWS_ONLY:
        if (value := getattr(args, name, None)) or (
            value is False and name in ("spot", "network_isolation", "encrypt_traffic")
        ):
            name = "async" if name == "asynchronous" else name
            raise ThoraxError(f"--{name.replace('_', '-')} is for AWS; leave it out, or leave --local out")


def add_channels(p: argparse.ArgumentParser) -> None:
    """--train, --validation, --test, --weights, --model, --channel NAME=PATH."""
    g = p.add_argument_group("data (a folder; on AWS also s3://BUCKET/PREFIX; a folder is uploaded)")
    g.add_argument(
        "--train", metavar="PATH", help="training images; default with --local: the recipe's synthetic images"
    )
    g.add_argument("--validation", metavar="PATH", help="default: cut from the training images, by patient")
    g.add_argument("--test", metavar="PATH", help="images to score the best epoch on")
    g.add_argument("--weights", metavar="PATH", help="weights to start from, a torchvision state_dict")
    g.add_argument(
        "--model", metavar="PATH", help="an earlier job's model.tar.gz or bundle to go on from (incremental training)"
    )
    g.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="another channel, such as train_lst=DIR; may be repeated",
    )


def channels(args: argparse.Namespace) -> dict[str, str]:
    """Channel -> path or address as given.

    Raises:
        ThoraxError: an empty path, --channel without one, of an unknown name, or a channel twice.
    """
    from thorax.job import CHANNELS as KNOWN

    names = {other: name for name, others in KNOWN.items() for other in others}
    found = {name: path for name in CHANNELS if (path := getattr(args, name)) is not None}
    if empty := [name for name, path in found.items() if not path]:
        raise ThoraxError(f"--{empty[0]} is empty; is a shell variable unset?")
    for text in args.channel:
        name, _, path = text.partition("=")
        if not path or name not in names:
            raise ThoraxError(f"--channel {text} must be NAME=PATH with a name of {', '.join(KNOWN)}")
        name = names[name]
        if name in found:
            raise ThoraxError(f"channel {name} is given twice, {found[name]} and {path}; give it once")
        found[name] = path
    return found


def local_channels(given: dict[str, str]) -> dict[str, Path]:
    """The channels of a job on this machine.

    Raises:
        ThoraxError: an address.
    """
    for name, path in given.items():
        if "://" in path:
            raise ThoraxError(
                f"--{name} {path}: --local reads folders of this machine; copy it first (aws s3 sync {path} DIR) and"
                " give DIR"
            )
    return {name: Path(path) for name, path in given.items()}


def add_local(
    p: argparse.ArgumentParser, text: str = "run here, through the real training toolkit; no account needed"
) -> None:
    """--local, which does what `text` says, and --runs."""
    g = p.add_argument_group("on this machine")
    g.add_argument("--local", action="store_true", help=text)
    g.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of all local jobs (default: runs)"
    )


def add_machine(p: argparse.ArgumentParser) -> None:
    """What machine a job gets on AWS; each flag replaces the recipe's value."""
    g = p.add_argument_group("machine on AWS (defaults: the recipe's)")
    g.add_argument("--instance-type", metavar="TYPE", help="such as ml.g5.xlarge")
    g.add_argument("--instance-count", type=int, metavar="N", help="machines that train together, under torchrun")
    g.add_argument("--volume-gb", type=int, metavar="GB", help="disk per machine")
    g.add_argument("--max-hours", type=float, metavar="H", help="the job is stopped after this long")
    g.add_argument(
        "--spot",
        action=argparse.BooleanOptionalAction,
        help="spare capacity at a lower price; resumes from checkpoints",
    )
    g.add_argument(
        "--max-wait-hours",
        type=float,
        metavar="H",
        help="with --spot: longest time including waiting (default: twice --max-hours)",
    )
    g.add_argument(
        "--warm-pool-minutes", type=int, metavar="MIN", help="keep the machines for the next job; they are billed"
    )
    g.add_argument(
        "--input-mode", choices=("File", "FastFile"), help="File copies the data first, FastFile streams it from S3"
    )
    g.add_argument(
        "--content-type", action="append", default=[], metavar="CHANNEL=TYPE", help="default: told from the files"
    )
    g.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="environment variable in the container"
    )
    g.add_argument("--wheels", type=Path, metavar="DIR", help="wheels to install from, where the job has no network")


def add_settings(p: argparse.ArgumentParser) -> None:
    """Where on AWS: flags over thorax.yaml over the SDK's config.yaml over the session."""
    g = p.add_argument_group("account (flags > thorax.yaml > SageMaker SDK config.yaml > AWS session)")
    g.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="settings file (default: thorax.yaml in this folder, if there is one)",
    )
    g.add_argument("--profile", metavar="NAME", help="AWS profile")
    g.add_argument("--region", metavar="REGION")
    g.add_argument("--role", metavar="ARN_OR_NAME", help="execution role of the job")
    g.add_argument("--bucket", metavar="BUCKET", help="default: sagemaker-REGION-ACCOUNT")
    g.add_argument("--prefix", metavar="PREFIX", help="folder in the bucket (default: thorax)")
    g.add_argument("--subnets", metavar="ID,ID", help="VPC subnets")
    g.add_argument("--security-groups", metavar="ID,ID", help="VPC security groups")
    g.add_argument(
        "--kms-key", metavar="KEY", help="encrypts uploads, outputs and, unless --volume-kms-key says otherwise, disks"
    )
    g.add_argument(
        "--volume-kms-key",
        metavar="KEY",
        help="encrypts disks; not for jobs on machines with local storage, such as ml.g5",
    )
    g.add_argument("--training-image", metavar="URI", help="default: AWS's PyTorch image")
    g.add_argument("--network-isolation", action=argparse.BooleanOptionalAction, help="no network in the container")
    g.add_argument("--encrypt-traffic", action=argparse.BooleanOptionalAction, help="between the machines of a job")
    g.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="tag on everything that is made; may be repeated",
    )
    g.add_argument(
        "--prices",
        type=Path,
        metavar="FILE",
        help="price table for an upper bound in dollars; see launch/prices.example.yaml",
    )
    g.add_argument(
        "--explain-settings", action="store_true", help="show every setting and where it comes from, and end"
    )
    g.add_argument(
        "--dry-run",
        action="store_true",
        help="print the request and the files to upload, and end; no network, no credentials",
    )
    g.add_argument("--yes", action="store_true", help="start without asking")


def add_endpoint(p: argparse.ArgumentParser) -> None:
    """What an endpoint is made of."""
    g = p.add_argument_group("endpoint on AWS")
    g.add_argument(
        "--endpoint-name",
        default="",
        metavar="NAME",
        help="default: the name of the bundle's job; one that exists is updated",
    )
    g.add_argument("--instance-type", metavar="TYPE", help="default: ml.m5.large")
    g.add_argument("--instance-count", type=int, metavar="N", help="machines to begin with (default: 1)")
    g.add_argument(
        "--serverless",
        action="store_true",
        help="no machine of its own: costs by request; CPU, 4 MB a request, cold starts",
    )
    g.add_argument(
        "--async",
        dest="asynchronous",
        action="store_true",
        help="requests and answers by way of S3; scales to 0 with --autoscale 0,N",
    )
    g.add_argument("--memory-mb", type=int, metavar="MB", help="with --serverless: 1024, 2048 ... 6144 (default: 4096)")
    g.add_argument(
        "--concurrency", type=int, metavar="N", help="with --serverless or --async: requests at once (default: 4)"
    )
    g.add_argument(
        "--capture",
        type=int,
        metavar="PERCENT",
        help="store so many of the requests and answers in the bucket (default: none)",
    )
    g.add_argument("--autoscale", metavar="LOW,HIGH", help="between so many machines")
    g.add_argument(
        "--autoscale-target",
        type=float,
        metavar="N",
        help="requests a minute and machine (default: 600); with --async waiting requests (5)",
    )
    g.add_argument(
        "--register", metavar="GROUP", help="also enter the bundle into the model registry, with metrics and model card"
    )
    add_image(p)


def add_transform(p: argparse.ArgumentParser) -> None:
    """What a batch transform runs on."""
    g = p.add_argument_group("batch transform on AWS")
    g.add_argument("--job-name", default="", metavar="NAME", help="default: the bundle's job and the time")
    g.add_argument("--instance-type", metavar="TYPE", help="default: ml.m5.xlarge")
    g.add_argument("--instance-count", type=int, metavar="N", help="machines that share the images (default: 1)")
    g.add_argument("--concurrent", type=int, metavar="N", help="images at once in one machine (default: 4)")
    g.add_argument("--payload-mb", type=int, metavar="MB", help="largest image (default: 6)")
    g.add_argument("--wait", action="store_true", help="until it is done; then write the table")
    add_image(p)


def add_image(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--image",
        default="",
        metavar="IMAGE",
        help="ray (AWS's Ray Serve, default), torchserve (AWS's of PyTorch 2.6), or the URI of your own",
    )
