"""The price of a whole plan before any of it: the search of a recipe's tune: part, the training, an endpoint.

Asks nothing of AWS: the prices are those of your table (launch/prices.example.yaml), the hours the longest that the
jobs may take.

examples:
    python launch/cost.py pneumonia-resnet18 --prices prices.yaml
    python launch/cost.py pneumonia-resnet18 --instance-type ml.g5.2xlarge --max-jobs 20 --months 3
    python launch/cost.py chestxray14-224 --no-search --months 0
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import cast

from thorax.errors import ThoraxError
from thorax_launch.cli import flags
from thorax_launch.options import MachineOptions


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 printed, 1 an error."""
    args = parser().parse_args(arguments)
    return flags.guarded(lambda: cost(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument("recipe", help="a name in launch/recipes, or a path to a YAML file")
    g = p.add_argument_group("plan")
    g.add_argument("--search", action=argparse.BooleanOptionalAction, help="default: where the recipe has a tune: part")
    g.add_argument("--max-jobs", type=int, metavar="N", help="jobs of the search (default: the recipe's)")
    g.add_argument("--parallel-jobs", type=int, metavar="N", help="of these at once (default: the recipe's)")
    g.add_argument(
        "--total-hours", type=float, metavar="H", help="longest time of the search (default: the recipe's, or none)"
    )
    g.add_argument(
        "--endpoint", default="ml.m5.large", metavar="TYPE", help="machine that serves (default: ml.m5.large)"
    )
    g.add_argument("--endpoint-count", type=int, default=1, metavar="N", help="such machines (default: 1)")
    g.add_argument("--months", type=float, default=1.0, metavar="N", help="how long it serves (default: 1; 0: none)")
    machine = p.add_argument_group("machine of the jobs (defaults: the recipe's)")
    flags.add_options(cast("Callable[..., None]", machine.add_argument), MachineOptions)
    flags.add_place(p)
    p.add_argument("--prices", default="", metavar="FILE", help="price table for dollars; launch/prices.example.yaml")
    return p


def cost(args: argparse.Namespace) -> int:
    """Prints the parts and their sum.

    Raises:
        ThoraxError: an unknown recipe, a wrong number, or a price table that cannot be read.
    """
    from thorax_launch.recipe import Recipe  # late: --help is instant
    from thorax_launch.sagemaker.cost import SearchScale, plan_cost, plan_items, prices_here
    from thorax_launch.sagemaker.machines import family, kinds
    from thorax_launch.settings import read_file, resolve

    settings = resolve([("flags", {"region": args.region, "prices": args.prices}), read_file(None)]).settings
    recipe = Recipe.load(args.recipe).on(**flags.options_of(args, MachineOptions))
    flags.positive("--endpoint-count", args.endpoint_count)
    for kind in (*kinds(recipe.instance_type), *kinds(args.endpoint)):
        if not family(kind):
            raise ThoraxError(f"{kind!r} is no machine's name; write it as ml.m5.large")
    if args.months < 0:
        raise ThoraxError(f"--months {args.months:g} must be 0 or more")
    scale = None
    limits = {"max_jobs": args.max_jobs, "parallel_jobs": args.parallel_jobs, "total_hours": args.total_hours}
    if recipe.tune and args.search is not False:
        tune, _ = recipe.search(limits, {})
        scale = SearchScale(tune.total, min(tune.parallel_jobs, tune.total), tune.total_hours)
    elif args.search or any(limits.values()):
        given = next((name for name, value in limits.items() if value), "search")
        flag = "--search" if args.search else f"--{given.replace('_', '-')}"
        raise ThoraxError(f"{flag}: recipe {recipe.name} has no search here; give it a tune: part, or leave that out")
    items = plan_items(recipe, scale, (args.endpoint, args.endpoint_count), args.months)
    print(plan_cost(items, *prices_here(dataclasses.replace(settings, region=args.region or settings.region))))
    return 0
