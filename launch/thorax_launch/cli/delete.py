"""Delete an endpoint and what it is made of (autoscaling and its alarm, endpoint, configuration, model), or with --all
everything of this project that is billed: jobs, searches, batch transforms and pipelines' runs are stopped, warm pools
ended, endpoints, alarms and left-over models and configurations deleted. S3 keeps its files. With --web the stack of a
web page, as `sam deploy` made it: its API, Lambda, role and log.

examples:
    python launch/delete.py pneumonia --dry-run
    python launch/delete.py pneumonia --yes
    python launch/delete.py                       # what of this project is billed, and what is left over
    python launch/delete.py --all --dry-run       # what --all would end
    python launch/delete.py --all --yes
    python launch/delete.py --web thorax-page --dry-run
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thorax_launch.cli import flags
from thorax_launch.invocation import command

if TYPE_CHECKING:
    from thorax_launch.sagemaker.deletion import DeleteCall
    from thorax_launch.sagemaker.summaries import Summary
    from thorax_launch.settings import AwsSettings


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 deleted (or listed), 1 an error, or the answer was no."""
    p = flags.script(__doc__)
    p.add_argument("name", nargs="?", help="of the endpoint; without it: list what of this project is billed")
    p.add_argument("--all", action="store_true", help="everything of this project that is billed or left over")
    p.add_argument(
        "--web", default="", metavar="STACK", help="the stack of a web page, by the name given to sam deploy"
    )
    flags.add_place(p)
    p.add_argument("--dry-run", action="store_true", help="say what would be deleted, and end")
    flags.add_shown(p.add_argument)
    p.add_argument("--yes", action="store_true", help="delete without asking")
    args = p.parse_args(arguments)
    if args.name and args.all:
        p.error(f"{args.name} with --all: choose one")
    if args.web and (args.name or args.all):
        p.error(f"--web {args.web} with {args.name or '--all'}: choose one")
    return flags.guarded(lambda: flags.on_aws(lambda: delete_web(args) if args.web else delete(args)))


def delete(args: argparse.Namespace) -> int:
    """Lists, or deletes.

    Raises:
        ThoraxError: AWS refuses.
    """
    from thorax_launch.cli import aws  # late: --help is instant
    from thorax_launch.sagemaker import deletion
    from thorax_launch.sagemaker.account import place

    settings = place(args.profile, args.region)
    if not args.name and not args.all:
        return listed(settings)
    calls = everything(settings) if args.all else parts(args.name, settings)
    if not calls:
        left = "nothing of this project" if args.all else f"no endpoint {args.name}, and nothing that is left of one"
        print(f"there is {left} in {settings.region}")
        return 0
    if args.dry_run:
        aws.show([_call(call) for call in calls], summary(calls), args)
    if not aws.agreed(summary(calls), "end all of it?" if args.all else "delete all of it?", args.yes):
        return 1
    deletion.delete_all(calls, settings)
    if not args.all:
        return listed(settings, left_over=False)
    return 0


def delete_web(args: argparse.Namespace) -> int:
    """Deletes a web page's stack.

    Raises:
        ThoraxError: it is no page's, AWS refuses, or a part of it stays.
    """
    from thorax_launch.cli.aws import confirmed  # late: --help is instant
    from thorax_launch.sagemaker import web_stacks
    from thorax_launch.sagemaker.account import place

    settings = place(args.profile, args.region)
    stack = web_stacks.found(args.web, settings)
    if stack is None:
        print(f"there is no stack {args.web} in {settings.region}")
        return 0
    print("\n".join(stack.lines()))
    if args.dry_run:
        return 0
    if not args.yes and not confirmed("delete all of it?"):
        return 1
    web_stacks.delete(stack, settings)
    return 0


def summary(calls: Sequence[DeleteCall]) -> Summary:
    """What the calls end, in words."""
    from thorax_launch.sagemaker.summaries import Summary, rows

    stopped = [call.what for call in calls if call.done != "deleted"]
    deleted = [call.what for call in calls if call.done == "deleted"]
    kept = rows("note", ["S3 keeps its files: bundles, checkpoints, results"])
    if not stopped:
        return Summary(tuple(deleted), notes=tuple(kept), verb="deletes")
    return Summary(tuple(stopped), notes=(*rows("deletes", deleted), *kept), verb="stops")


def _call(call: DeleteCall) -> dict[str, Any]:
    """A call by AWS's name, and its parameters."""
    return {"".join(word.capitalize() for word in call.call.split("_")): call.arguments}


def parts(name: str, settings: AwsSettings) -> list[DeleteCall]:
    """The calls that delete an endpoint, or what an earlier, interrupted deletion left of it."""
    from thorax_launch.sagemaker import deletion
    from thorax_launch.sagemaker.endpoints import Endpoint
    from thorax_launch.sagemaker.inventory import Inventory

    if Endpoint(name, settings).exists():
        return deletion.endpoint_parts(name, settings)
    return Inventory(settings).parts_of(name)


def everything(settings: AwsSettings) -> list[DeleteCall]:
    """The calls that end everything of ours, in order, each once."""
    from thorax_launch.sagemaker import deletion
    from thorax_launch.sagemaker.inventory import Inventory

    inventory = Inventory(settings)
    calls: list[DeleteCall] = []
    for thing in inventory.billed():
        kind, _, name = thing.what.partition(" ")
        found = deletion.endpoint_parts(name, settings) if kind == "endpoint" else thing.end
        calls += [call for call in found if call not in calls]
    return calls + [call for thing in inventory.left_over() for call in thing.end if call not in calls]


def listed(settings: AwsSettings, left_over: bool = True) -> int:
    """A line for each thing of ours that is billed, and with `left_over` for each that is left over."""
    from thorax_launch.sagemaker.inventory import Inventory

    inventory = Inventory(settings)
    for thing in inventory.billed():
        kind, _, name = thing.what.partition(" ")
        how = f"{command('delete')} {name if kind == 'endpoint' else '--all'}"
        how = how if kind in ("endpoint", "alarm", "warm") else f"{command('stop')} {thing.what.rpartition(' ')[2]}"
        hours = "still running, billed by the hour" if kind == "endpoint" else "billed"
        print(f"{hours}: {thing.what} ({how})")
    for thing in inventory.left_over() if left_over else ():
        print(f"left over, costs nothing: {thing.what} ({command('delete')} --all)")
    return 0
