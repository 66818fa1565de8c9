"""--deploy-best: its flags are checked before anything runs; the endpoint is secured as the job was that it serves."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.cli import deploy, flags
from thorax_launch.options import EndpointOptions, chosen
from thorax_launch.sagemaker import deployment
from thorax_launch.sagemaker.jobs import TrainingJob
from thorax_launch.sagemaker.records import settings_of
from thorax_launch.settings import DEFAULTS, AwsSettings

#: What an endpoint takes over from the job; where deploy's own flags say otherwise that is printed.
_SECURITY = ("role", "bucket", "prefix", "subnets", "security_groups", "kms_key", "network_isolation")


def check(words: Sequence[str], settings: AwsSettings | None = None) -> None:
    """Refuses, before a job is started or waited for, what `thorax deploy` would refuse after it.

    Args:
        words: the flags after --deploy-best.
        settings: of the search; None: stand-ins.

    Raises:
        ThoraxError: a wrong option, or a question that nobody could answer.
        SystemExit: a flag that `thorax deploy` does not know (code 2, with its usage).
    """
    args = deploy.parser().parse_args(["BUNDLE", *words])
    if args.local:
        raise ThoraxError("--deploy-best --local: the bundle is on AWS; leave --local out")
    known = settings or AwsSettings(region="us-east-1", bucket="bucket", role="arn:aws:iam::000000000000:role/ROLE")
    options = chosen(EndpointOptions, flags.options_of(args, EndpointOptions))
    deployment.plan(f"{known.root}/{options.endpoint_name or 'best'}/output/model.tar.gz", options, known, True)
    if not (args.yes or args.dry_run or sys.stdin.isatty()):
        raise ThoraxError("--deploy-best: no terminal to confirm on when the search is done: give --yes after it too")


def deploy_job(name: str, place: AwsSettings, words: Sequence[str], more: Iterable[str] = ()) -> int:
    """Deploys the bundle of a training job with the role, bucket, network, key and isolation of its own record.

    Args:
        name: of the job.
        place: profile and region.
        words: deploy's flags, which win; what they replace of the record is printed.
        more: flags that stand before them, such as --settings FILE.

    Raises:
        ThoraxError: it left no bundle, or AWS refuses.
    """
    job = TrainingJob(name, place)
    record = settings_of(job.describe(), place)
    given = vars(deploy.parser().parse_args(["BUNDLE", *words]))
    taken = []
    for key in _SECURITY:
        value = getattr(record, key)
        if given[key] not in (None, "", ()) and _text(given[key]) != _text(value) and value:
            print(f"note: --{key.replace('_', '-')} {_text(given[key])} replaces the job's own, {_text(value)}")
        elif value != DEFAULTS[key]:
            flag = f"--{key.replace('_', '-')}"
            taken += [flag] if value is True else [flag, _text(value)]
    where = [word for key in ("profile", "region") if (value := getattr(place, key)) for word in (f"--{key}", value)]
    if taken:
        print(f"from the record of job {name}: {' '.join(taken)}", flush=True)
    return deploy.main([job.bundle, *where, *more, *taken, *words])


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
