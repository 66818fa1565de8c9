"""The model registry: list the bundles of a group, approve or reject one, compare two.

examples:
    python launch/registry.py list chest
    python launch/registry.py compare chest/3 chest/4
    python launch/registry.py approve chest/4 --reason "AUC above 0.95 at both hospitals"
    python launch/deploy.py registry:chest --endpoint-name chest
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax_launch.cli import flags

if TYPE_CHECKING:
    from thorax_launch.sagemaker.packages import ModelRegistry, Package

#: Words of the command -> AWS's status.
DECISIONS = {"approve": "Approved", "reject": "Rejected"}


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (one line), 2 a wrong command line."""
    p = parser()
    args = p.parse_args(arguments)
    counts = {"list": 1, "compare": 2, "approve": 1, "reject": 1}
    if len(args.names) != counts[args.action]:
        p.error(f"{args.action} takes {'GROUP' if args.action == 'list' else 'GROUP/VERSION'} x {counts[args.action]}")
    return flags.guarded(lambda: run(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument("action", choices=("list", "compare", *DECISIONS))
    p.add_argument("names", nargs="+", metavar="GROUP[/VERSION]", help="list: the group; else a bundle in it")
    p.add_argument("--reason", default="", metavar="TEXT", help="with approve or reject: kept beside the decision")
    flags.add_place(p)
    p.add_argument("--dry-run", action="store_true", help="with approve or reject: say what would change, and end")
    flags.add_shown(p.add_argument)
    return p


def run(args: argparse.Namespace) -> int:
    """Does it."""
    from thorax_launch.sagemaker import account  # late: --help is instant
    from thorax_launch.sagemaker.packages import ModelRegistry

    account.quiet()
    named = [] if args.action == "list" else [_named(name) for name in args.names]
    registry = ModelRegistry(account.place(args.profile, args.region))
    if args.action == "list":
        for package in registry.packages(args.names[0]):
            print(f"{package.name:24} {package.created}  {package.status:22} {package.uri}")
        return 0
    packages = [registry.package(group, version) for group, version in named]
    if args.action == "compare":
        compare(registry, *packages)
        return 0
    if args.dry_run:
        _show(packages[0], args)
    registry.decide(packages[0], DECISIONS[args.action], args.reason)
    print(f"{packages[0].name} is {DECISIONS[args.action]}")
    return 0


def _show(package: Package, args: argparse.Namespace) -> None:
    """--dry-run of a decision. Raises flags.CommandDone."""
    from thorax_launch.cli import aws
    from thorax_launch.sagemaker.packages import decision
    from thorax_launch.sagemaker.summaries import Summary

    status = DECISIONS[args.action]
    does = (f"{package.name} from {package.status or 'undecided'} to {status}", f"bundle {package.uri}")
    call = {"UpdateModelPackage": decision(package, status, args.reason)}
    aws.show(call, Summary(does, ("cost:     nothing",), verb="changes"), args)


def _named(name: str) -> tuple[str, int]:
    """(group, version). Raises ThoraxError: it names no version."""
    found = re.fullmatch(r"(?:registry:)?([A-Za-z0-9-]+)/(\d+)", name)
    if not found:
        raise ThoraxError(f"{name} must be GROUP/VERSION, such as chest/3")
    return found[1], int(found[2])


def compare(registry: ModelRegistry, first: Package, second: Package) -> None:
    """Prints the metrics that both have, and the difference."""
    before, after = registry.metrics(first), registry.metrics(second)
    both = [name for name in before if name in after]
    if not both:
        raise ThoraxError(f"{first.name} and {second.name} have no metric in common")
    width = max(12, len(first.name), len(second.name))
    print(f"{'':24} {first.name:>{width}} {second.name:>{width}} {'change':>{width}}")
    for name in both:
        change = after[name] - before[name]
        print(f"{name:24} {before[name]:{width}.4f} {after[name]:{width}.4f} {change:+{width}.4f}")
    for package, alone in ((first, before.keys() - after.keys()), (second, after.keys() - before.keys())):
        if alone:
            print(f"only {package.name} has {', '.join(sorted(alone))}")
