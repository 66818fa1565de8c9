"""The demo: synthetic chest X-rays, a training job on them, its scores, and the app with the web page around the model.

On a terminal the app stays up until Ctrl-C; elsewhere it answers one image and stops.

example:
    python launch/demo.py --set epochs=8
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

from thorax_launch.cli import flags
from thorax_launch.invocation import command


def main(arguments: list[str] | None = None) -> int:
    """Exit code: as `thorax train`."""
    p = flags.script(__doc__)
    p.add_argument("--no-serve", action="store_true", help="end after the scores")
    p.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of all local jobs (default: runs)"
    )
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a hyperparameter; may be repeated"
    )
    args = p.parse_args(arguments)
    return flags.guarded(lambda: demo(args))


def demo(args: argparse.Namespace) -> int:
    """Trains, serves, and shows what to do next."""
    from thorax_launch.cli.local_jobs import run_job  # late: --help is instant
    from thorax_launch.hyperparameters import from_settings
    from thorax_launch.local.jobs import train

    job = train("demo", hyperparameters=from_settings(args.set), runs=args.runs)
    resume = f"{command('train')} demo --local --runs {shlex.quote(str(args.runs))} --job-name {job.name}"
    code = run_job(job, " ".join([resume, *(f"--set {shlex.quote(text)}" for text in args.set)]))
    if code or job.status != "Completed":
        return code
    bundle, images = args.runs / job.name / "model", args.runs / "synthetic" / "folders" / "test"
    image = sorted(images.glob("*/*.*"))[-1]
    if args.no_serve:
        print(next_commands(bundle, image))
        return 0
    return serve(bundle, image, stay=sys.stdin.isatty() and sys.stdout.isatty())


def serve(bundle: Path, image: Path, *, stay: bool) -> int:
    """Starts the app, asks it about the image, and shows where the page is and what to do next.

    Returns 0, or 1 if the image failed.
    """
    from thorax_launch.clients import ServerClient
    from thorax_launch.local.endpoints import deploy
    from thorax_launch.predictions import predict

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the app ends with this process
    try:
        with deploy(bundle) as endpoint:
            print(f"\nPOST {endpoint.address}invocations  {image}", flush=True)
            code = predict(ServerClient(endpoint.address), [image])
            ends = "Ctrl-C stops it" if stay else "no terminal: it stops now"
            print(f"web page: {endpoint.address}   {ends}\n{next_commands(bundle, image)}", flush=True)
            if stay:
                signal.pause()
    except KeyboardInterrupt:
        return 0
    return code


def next_commands(bundle: Path, image: Path) -> str:
    """Three commands to go on with."""
    model = shlex.quote(str(bundle))
    rows = (
        ("the page again", f"{command('deploy')} --local {model}"),
        ("heat maps of an image", f"{command('predict')} {model} {shlex.quote(str(image))} --explain maps"),
        ("your own images", f"{command('train')} pneumonia-resnet18 --local --train DIR --test DIR"),
    )
    return "\n".join(["\nnext:", *(f"  {what:22} {words}" for what, words in rows)])
