"""From the command line of launch/deploy.py to a deployment."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from thorax.errors import ThoraxError
from thorax.serving.bundle import Bundle
from thorax_launch.cli import flags
from thorax_launch.names import LONGEST, clean, dated
from thorax_launch.sagemaker import account, bundles, command, deployment
from thorax_launch.sagemaker.endpoints import SERVERS, Host
from thorax_launch.sagemaker.registry import registration
from thorax_launch.sagemaker.training_jobs import commit
from thorax_launch.settings import AwsSettings


def deployment_of(args: Namespace) -> deployment.Deployment:
    """What the flags mean, packed and checked; nothing is asked of AWS but what the settings lack.

    Raises:
        ThoraxError: a wrong flag, or no bundle.
        flags.Done: after --explain-settings.
    """
    settings, server = place(args)
    bundle = bundles.shipped(args.bundle, settings)
    endpoint = args.endpoint_name or bundle.name
    kind = "serverless" if args.serverless else "async" if args.asynchronous else "realtime"
    _check(args, kind, endpoint)
    chosen = {
        "instance_type": args.instance_type,
        "instance_count": flags.positive("--instance-count", args.instance_count),
        "memory_mb": args.memory_mb,
        "concurrency": flags.positive("--concurrency", args.concurrency),
        "capture": args.capture,
    }
    host = Host(
        dated(endpoint),
        bundle.uri,
        kind,
        server,
        endpoint=endpoint,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    tags = tagged(settings, bundle)
    entry = None
    if args.register:
        with bundles.described(bundle) as folder:
            entry = registration(bundle, Bundle.load(folder), host, args.register, settings, tags)
    scale = _limits(args.autoscale) if args.autoscale else None
    per_minute = args.autoscale_target or (5.0 if kind == "async" else 600.0)
    return deployment.plan(host, bundle, settings, tags, scale, per_minute, entry)


def place(args: Namespace) -> tuple[AwsSettings, str]:
    """Settings with the serving image of --image, and the server that it holds.

    Raises:
        ThoraxError: see account.settings.
        flags.Done: after --explain-settings.
    """
    command.quiet()
    resolved = account.settings(args)
    if args.explain_settings:
        print(resolved.table())
        raise flags.CommandDone
    if args.image in SERVERS:
        return replace(resolved.settings, serving_image=""), args.image
    return (replace(resolved.settings, serving_image=args.image) if args.image else resolved.settings), "ray"


def tagged(settings: AwsSettings, bundle: bundles.Shipped) -> dict[str, str]:
    """Project, git commit and bundle, then the user's own tags, which win."""
    own = {"project": "thorax", "commit": commit(), "bundle": bundle.digest}
    return {key: value for key, value in {**own, **settings.tags}.items() if value}


def _check(args: Namespace, kind: str, endpoint: str) -> None:
    if args.serverless and args.asynchronous:
        raise ThoraxError("--serverless and --async: choose one")
    if kind == "serverless" and (args.instance_type or args.instance_count):
        raise ThoraxError(
            "--serverless with --instance-type or --instance-count: it has no machine of its own; leave them out"
        )
    if kind != "serverless" and args.memory_mb:
        raise ThoraxError("--memory-mb is for --serverless; leave it out")
    if kind == "realtime" and args.concurrency:
        raise ThoraxError("--concurrency is for --serverless and --async; leave it out")
    if args.autoscale_target is not None and (not args.autoscale or args.autoscale_target <= 0):
        raise ThoraxError(
            f"--autoscale-target {args.autoscale_target:g} must be above 0, and goes with --autoscale LOW,HIGH"
        )
    if clean(endpoint) != endpoint:
        raise ThoraxError(
            f"--endpoint-name {endpoint} must be 1 to {LONGEST} letters, digits and hyphens, with a letter or digit at"
            " both ends"
        )


def _limits(text: str) -> tuple[int, int]:
    low, separator, high = text.partition(",")
    if not separator or not low.isdecimal() or not high.isdecimal():
        raise ThoraxError(f"--autoscale {text} must be LOW,HIGH, such as 1,4")
    return int(low), int(high)
