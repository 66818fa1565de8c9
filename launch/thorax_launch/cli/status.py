"""What of this project is on SageMaker now: what runs, since when, on which machines, and what it cost so far.

It goes by the tag thorax:made-by, which every command sets on all that it makes.

examples:
    python launch/status.py
    python launch/status.py --prices prices.yaml
"""

from __future__ import annotations

import argparse
import dataclasses
from datetime import UTC, datetime

from thorax.text import are, counted
from thorax_launch.cli import flags
from thorax_launch.invocation import command


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 listed, 1 an error."""
    p = flags.script(__doc__)
    flags.add_place(p)
    p.add_argument("--prices", default="", metavar="FILE", help="price table for dollars; launch/prices.example.yaml")
    args = p.parse_args(arguments)
    return flags.guarded(lambda: flags.on_aws(lambda: status(args)))


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
