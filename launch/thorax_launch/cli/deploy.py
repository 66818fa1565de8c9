"""Put a bundle behind an address: a SageMaker endpoint, or with --local a server on this machine.

The server answers what it has begun after Ctrl-C, then stops. On AWS an endpoint of that name is updated where there is
one; if it cannot be made or does not answer an image, everything is taken back.

examples:
    python launch/deploy.py --local runs/NAME/model
    python launch/deploy.py --local runs/NAME/model --server ray --port 8081
    python launch/deploy.py runs/NAME/model --endpoint-name chest --dry-run
    python launch/deploy.py s3://BUCKET/thorax/JOB/output/model.tar.gz --serverless --memory-mb 4096
    python launch/deploy.py registry:chest --endpoint-name chest --canary 10 --bake-minutes 10
    python launch/deploy.py runs/NAME/model --instance-type ml.g5.xlarge --autoscale 1,4 --register chest-models
    python launch/deploy.py --job JOB_OR_SEARCH --endpoint-name chest
    python launch/deploy.py --variant old=BUNDLE:90 --variant new=BUNDLE2:10 --endpoint-name chest
    python launch/deploy.py --weights old=50,new=50 --endpoint-name chest --bake-minutes 10
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax_launch.cli import flags
from thorax_launch.names import named_bundle

if TYPE_CHECKING:
    from thorax_launch.options import EndpointOptions
    from thorax_launch.settings import AwsSettings

#: Each is local/serve_NAME.py.
SERVERS = ("app", "ray", "torchserve")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 deployed or stopped, 1 an error (the last line says which), 2 a wrong command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    p = parser()
    args = p.parse_args(given)
    what = [name for name in ("bundle", "job", "variant", "weights") if getattr(args, name)]
    if len(what) != 1:
        names = {"bundle": "BUNDLE", **{name: f"--{name}" for name in what if name != "bundle"}}
        found = " and ".join(names[name] for name in what) + ": choose one; " if what else ""
        p.error(
            f"{found}name a BUNDLE, or --job NAME, or several as --variant NAME=BUNDLE:WEIGHT, or --weights A=90,B=10"
            " for an endpoint that has variants"
        )
    if args.job:
        from thorax_launch.cli import deploy_job  # late: it hands the job's bundle to this command

        return flags.guarded(lambda: deploy_job.deploy(args, deploy_job.without_job(given)))
    return flags.guarded(lambda: local(args) if args.local else flags.on_aws(lambda: on_aws(args)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument(
        "bundle",
        nargs="*",
        metavar="BUNDLE",
        help="the model folder of a finished job, its model.tar.gz, s3://.../model.tar.gz, or on AWS"
        " registry:GROUP[/VERSION], an approved bundle of the model registry; several, each as NAME=BUNDLE, for an"
        " endpoint of several models; shadow:ENDPOINT brings that endpoint's shadow into service",
    )
    p.add_argument(
        "--job",
        default="",
        metavar="NAME",
        help="in place of BUNDLE: what that job left, or the best job of that search; of AWS, or of runs/ here",
    )
    flags.for_aws(p, p)(
        "--weights",
        default="",
        metavar="A=90,B=10",
        help="divide the requests of an endpoint anew among its variants; nothing is deployed",
    )
    g = p.add_argument_group("on this machine")
    g.add_argument("--local", action="store_true", help="serve on this machine, at 127.0.0.1")
    g.add_argument(
        "--server",
        choices=SERVERS,
        default="app",
        help="app: uvicorn (default); ray: Ray Serve, as AWS's image; torchserve: as AWS's older image",
    )
    g.add_argument("--port", type=int, default=8080, metavar="N", help="default: 8080; 0: a free one")
    g.add_argument(
        "--token",
        nargs="?",
        const="new",
        metavar="TOKEN",
        help="on a machine with other users: answer only who knows this token; without a value a new one is made",
    )
    flags.add_engine(g)
    flags.add_tta(g)
    flags.add_endpoint(p)
    flags.add_settings(p)
    return p


def local(args: argparse.Namespace) -> int:
    """Serves until it is stopped."""
    flags.check_local(args)
    chosen = {} if args.engine == "auto" else {"engine": args.engine}
    if args.tta is not None:
        chosen["tta"] = args.tta
    if args.token is not None:
        if args.server != "app":
            raise ThoraxError(f"--token is for --server app; --server {args.server} has none")
        chosen["token"] = args.token
    several = len(args.bundle) > 1 or bool(named_bundle(args.bundle[0])[0])
    if several and args.server != "app":
        raise ThoraxError(f"--server {args.server} with several bundles: --server app serves them; leave --server out")
    kind = "models" if several else args.server
    server = importlib.import_module(f"thorax_launch.local.serve_{kind}")  # late: --help is instant
    bundle = args.bundle if several else args.bundle[0]
    try:
        return int(server.serve(bundle, args.port, **chosen))
    except KeyboardInterrupt:  # before the server was up, or after it had answered everything
        return 0


def on_aws(args: argparse.Namespace) -> int:
    """Makes or updates the endpoint."""
    from thorax_launch.cli import aws  # late: --help is instant
    from thorax_launch.options import EndpointOptions, chosen
    from thorax_launch.sagemaker import deployment, packages, promotion

    if args.tta is not None:
        raise ThoraxError(f"--tta {args.tta} is for --local; an endpoint is told by --env THORAX_TTA={args.tta}")
    settings = aws.settings_of(args)
    options = chosen(EndpointOptions, flags.options_of(args, EndpointOptions))
    if args.weights:
        return move(args, options, settings)
    if any(bundle.startswith(promotion.PREFIX) for bundle in args.bundle):
        return promote(args, options, settings)
    plan = deployment.plan(*packages.all_resolved(args.bundle, options, settings, args.dry_run), settings, args.dry_run)
    if args.dry_run:
        name = plan.spec.endpoint_name
        note = f"note:     where endpoint {name} exists, UpdateEndpoint takes the place of CreateEndpoint"
        aws.show(plan.calls(), plan.summary().noted(note), args)
    before = deployment.present_configuration(plan)
    update = [f"update:   it answers with {before} until then"] if before else []
    if not aws.agreed(plan.summary().noted(*update), "update it?" if before else "start it?", args.yes):
        return 1
    deployment.make(plan, before)
    return 0


def move(args: argparse.Namespace, options: EndpointOptions, settings: AwsSettings) -> int:
    """Divides the requests of an endpoint anew among its variants."""
    from thorax_launch.cli import aws  # late: --help is instant
    from thorax_launch.options import entries
    from thorax_launch.sagemaker import traffic

    for entry in entries(type(options)):
        if entry.name not in ("endpoint_name", "bake_minutes") and getattr(options, entry.name) != entry.default:
            raise ThoraxError(f"{entry.flag} with --weights: nothing is deployed; leave it out")
    planned = traffic.plan(options.endpoint_name, args.weights, settings, options.bake_minutes, args.dry_run)
    if args.dry_run:
        note = "note:     whether the endpoint has these variants only AWS knows"
        aws.show({"UpdateEndpointWeightsAndCapacities": planned.request}, planned.summary().noted(note), args)
    if not aws.agreed(planned.summary(), "divide them so?", args.yes):
        return 1
    traffic.make(planned, settings)
    return 0


def promote(args: argparse.Namespace, options: EndpointOptions, settings: AwsSettings) -> int:
    """Brings the shadow of an endpoint into service."""
    from thorax_launch.cli import aws  # late: --help is instant
    from thorax_launch.sagemaker import promotion

    if len(args.bundle) > 1:
        raise ThoraxError(f"{' '.join(args.bundle)}: shadow:ENDPOINT stands alone")
    plan = promotion.plan(args.bundle[0], options, settings, offline=args.dry_run)
    if plan is None:
        return 0
    if not aws.agreed(plan.summary(), "bring the shadow into service?", args.yes):
        return 1
    promotion.make(plan, settings)
    return 0
