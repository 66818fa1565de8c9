"""The demo: synthetic chest X-rays, a local training job on them, its scores, and the app with the web page around the
model.

On a terminal the app stays up until Ctrl-C; elsewhere it answers one image and stops.

usage: python launch/demo.py [--no-serve] [--runs DIR] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: as launch/train.py."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    """Trains, prints the scores, and serves."""
    from thorax_launch.local.training import train  # late: --help is instant
    from thorax_launch.names import dated
    from thorax_launch.recipe import Recipe

    recipe = Recipe.load("demo")
    name = dated(recipe.name)
    code = train(recipe, runs=args.runs, job_name=name, settings=args.set)
    if code == 0:
        print(f"\n{result_table(args.runs / name / 'output' / 'data' / 'metrics.json')}\n", flush=True)
        if not args.no_serve:
            code = serve(
                args.runs / name / "model",
                args.runs / "images" / "folders" / "test",
                stay=sys.stdin.isatty() and sys.stdout.isatty(),
            )
    return code


def result_table(metrics: Path) -> str:
    """The scores that a run left, as text: validation, which chose the threshold, and test."""
    from thorax.evaluation.formatting import table
    from thorax.labels import LabelSpace

    stored = json.loads(metrics.read_text(encoding="utf-8"))
    scores = {part: stored[part] for part in ("validation", "test") if part in stored}
    return table(scores, LabelSpace.from_dict(stored["labels"]))


def serve(bundle: Path, images: Path, *, stay: bool) -> int:
    """Starts the app, asks it about one of the test images, and says where the page is.

    Returns 0, or 1 if the image failed.
    """
    from thorax_launch.clients import Server
    from thorax_launch.local.running_app import running_app
    from thorax_launch.predictions import predict

    image = sorted(images.glob("*/*.*"))[-1]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the app goes with us
    try:
        with running_app(bundle) as address:
            print(f"POST {address}invocations  {image}", flush=True)
            code = predict(Server(address), [image])
            print(
                f"web page: {address}" + ("   Ctrl-C stops it" if stay else "   no terminal: it stops now"), flush=True
            )
            print(f"again:    python launch/deploy.py --local {bundle}", flush=True)
            if stay:
                signal.pause()
    except KeyboardInterrupt:
        return 0
    return code
