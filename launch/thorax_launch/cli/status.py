"""What of this project is on SageMaker now: what runs, since when, on which machines, and what it cost so far.

It goes by the tag thorax:made-by, which every command sets on all that it makes. With the name of an endpoint: what
each of its variants did in the last hours, by CloudWatch; of a job: its state.

examples:
    python launch/status.py
    python launch/status.py --prices prices.yaml
    python launch/status.py chest --hours 24
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax.text import are, counted
from thorax_launch.cli import flags
from thorax_launch.invocation import command

if TYPE_CHECKING:
    from thorax_launch.settings import AwsSettings


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 listed, 1 an error."""
    p = flags.script(__doc__)
    p.add_argument("name", nargs="?", default="", help="of an endpoint, or of a job; default: all that is billed")
    flags.add_place(p)
    p.add_argument("--prices", default="", metavar="FILE", help="price table for dollars; launch/prices.example.yaml")
    p.add_argument("--hours", type=float, metavar="H", help="with NAME of an endpoint: the last so many (default: 24)")
    p.add_argument("--json", action="store_true", help="with NAME of an endpoint: as JSON")
    args = p.parse_args(arguments)
    if not args.name and (args.json or args.hours is not None):
        p.error(f"{'--json' if args.json else '--hours'} goes with the name of an endpoint")
    if args.name and args.prices:
        p.error("--prices is for the list of all that is billed; leave it or the name out")
    return flags.guarded(lambda: flags.on_aws(lambda: one(args) if args.name else status(args)))


def one(args: argparse.Namespace) -> int:
    """Prints what an endpoint's variants did, or the state of a job.

    Raises:
        ThoraxError: there is neither, or AWS refuses.
    """
    from thorax_launch.sagemaker.account import place  # late: --help is instant
    from thorax_launch.sagemaker.endpoints import Endpoint
    from thorax_launch.sagemaker.figures import LONGEST_HOURS

    hours = 24.0 if args.hours is None else args.hours
    if not 0 < hours <= LONGEST_HOURS:
        raise ThoraxError(f"--hours {hours:g} must be above 0 and at most {LONGEST_HOURS}: CloudWatch keeps 455 days")
    settings = place(args.profile, args.region)
    endpoint = Endpoint(args.name, settings)
    if args.name.startswith("arn:") or not endpoint.exists():
        return _job(args, settings)
    found = endpoint.figures(hours)
    print(json.dumps(dataclasses.asdict(found), indent=1, default=str) if args.json else found.text())
    return 0


def _job(args: argparse.Namespace, settings: AwsSettings) -> int:
    """Prints the state of a job."""
    from thorax_launch.sagemaker.finding import find  # late: --help is instant

    try:
        job = find(args.name, settings)
    except ThoraxError as error:
        if not str(error).startswith("there is no "):
            raise
        raise ThoraxError(
            f"there is no endpoint, training job, search, batch transform, processing job or pipeline {args.name} in"
            f" {settings.region}; `{command('status')}` lists what runs"
        ) from None
    if args.json or args.hours is not None:
        flag = "--json" if args.json else "--hours"
        raise ThoraxError(f"{args.name} is a {job.kind.words}: {flag} is for endpoints; leave it out")
    print(f"{job.kind.words} {args.name}: {job.status()}")
    return 0


def status(args: argparse.Namespace) -> int:
    """Prints a line for each thing that is billed, and their sum.

    Raises:
        ThoraxError: a price table that cannot be read, or AWS refuses.
    """
    from thorax_launch.sagemaker.account import place  # late: --help is instant
    from thorax_launch.sagemaker.cost import prices_here
    from thorax_launch.sagemaker.inventory import Inventory

    settings = place(args.profile, args.region)
    settings = dataclasses.replace(settings, prices=args.prices or settings.prices)
    prices, why = prices_here(settings)
    things, now = Inventory(settings).billed(), datetime.now(UTC)
    for thing in things:
        print(thing.line(prices, now))
    if not things:
        print(f"nothing of this project runs in {settings.region}")
        return 0
    known = [cost for thing in things if (cost := thing.dollars(prices, now)) is not None]
    total = f"${sum(known):,.2f} so far on demand (prices of {prices.as_of})" if prices else why
    print(f"{counted(len(things), 'thing')} {are(len(things))} billed in {settings.region}; {total}")
    print(f"to end one: {command('stop')} NAME, {command('delete')} NAME; to end all: {command('delete')} --all")
    return 0
