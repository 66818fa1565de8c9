"""What the commands do on AWS alike: settings, options of a job, --dry-run, the question before anything is sent."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from thorax.errors import ThoraxError
from thorax.secrets import mask, masked
from thorax_launch.cli import flags
from thorax_launch.hyperparameters import from_settings
from thorax_launch.options import MachineOptions, entries
from thorax_launch.sagemaker import account
from thorax_launch.sagemaker.submission import submit, summary
from thorax_launch.sagemaker.summaries import SHOWN, Summary
from thorax_launch.sagemaker.training_jobs import JobPlan
from thorax_launch.settings import DEFAULTS, AwsSettings, Resolved, pairs, read_file


def resolved(args: Namespace, some_region: str = account.SOME_REGION) -> Resolved:
    """The settings of a command line, and where each comes from; see account.resolved.

    Raises:
        ThoraxError: a wrong setting, no region, no role, or AWS does not answer.
    """
    given = {name: getattr(args, name, None) for name in DEFAULTS} | {"tags": pairs("--tag", args.tags)}
    offline = args.dry_run or args.explain_settings
    sources = [("flags", given), read_file(args.settings)]
    try:
        found = account.resolved(sources, offline=offline, some_region=some_region)
    except ThoraxError as error:
        if str(error) != account.NO_REGION or not hasattr(args, "local"):
            raise
        raise ThoraxError(f"{error}; or add --local to run on this machine, without AWS") from None
    if found.origins.get("region") == account.STAND_IN and not args.explain_settings:
        region = found.settings.region
        print(f"note: no region is set; {region} stands for it: give --region", file=sys.stderr)
    return found


def settings_of(args: Namespace) -> AwsSettings:
    """The settings of a command line.

    Raises:
        ThoraxError: see resolved.
        flags.CommandDone: after --explain-settings.
    """
    account.quiet()
    found = resolved(args)
    if args.explain_settings:
        print(found.table())
        raise flags.CommandDone
    return found.settings


def job_arguments(args: Namespace) -> tuple[str, dict[str, str], dict[str, str], dict[str, Any]]:
    """Recipe, channels, hyperparameters and options of a training or tuning command, as jobs.plan_training takes them.

    Raises:
        ThoraxError: a wrong flag.
    """
    names = ("job_name", "wheels", "locked", "resume", "processes", "debugger", "profiler", "rule")
    options = {name: getattr(args, name, None) for name in (*(entry.name for entry in entries(MachineOptions)), *names)}
    options["content_type"] = pairs("--content-type", args.content_type)
    options["env"] = pairs("--env", args.env)
    options["secrets"] = pairs("--secret", args.secret)
    return args.recipe, flags.channels(args), from_settings(args.set), options


def begin(plan: JobPlan, settings: AwsSettings, args: Namespace) -> bool:
    """Shows the plan (--dry-run), or asks and sends it. Whether the job is there now.

    Raises:
        ThoraxError: AWS refuses.
        flags.CommandDone: after --dry-run.
    """
    if args.dry_run:
        show(plan.request.parameters, summary(plan, settings), args)
    if not agreed(summary(plan, settings), "start it?", args.yes):
        return False
    if submit(plan, settings):
        print(f"{plan.request.resource} {plan.name} is started in {settings.region}", flush=True)
    return True


def show(calls: Any, summary: Summary, args: Namespace) -> None:
    """--dry-run: a summary, and with --json or into a file or pipe the exact requests as JSON on standard output.

    Args:
        calls: what would be sent.
        summary: what it would make, read, upload and cost.
        args: has full, and json where the command has that flag for this; else the requests go into files and pipes
            alone.

    Raises:
        flags.CommandDone: always.
    """
    own, full = getattr(args, "json", None), getattr(args, "full", False)
    as_json = own is True or not sys.stdout.isatty()
    how = ["--json shows the exact requests"] if own is False else ["a pipe gets the exact requests"]
    how += [] if full or len(summary.uploads or ()) <= SHOWN else ["--full every file"]
    more = "" if as_json else f"; {', '.join(how)}"
    words = f"{mask(summary.text(full))}\ndry run:  nothing was sent{more}"
    print(words, file=sys.stderr if as_json else sys.stdout, flush=True)
    if as_json:
        print(json.dumps(masked(calls), indent=2))
    raise flags.CommandDone


def agreed(summary: Summary, question: str, yes: bool) -> bool:
    """Prints what is about to happen; whether to go ahead: --yes, or the person at the terminal agrees."""
    print(mask(summary.text()), file=sys.stderr)
    return yes or confirmed(question)


def confirmed(question: str) -> bool:
    """The answer of the person at the terminal. Raises ThoraxError: there is none."""
    if not sys.stdin.isatty():
        raise ThoraxError("no terminal to confirm on: give --yes to go ahead, or --dry-run to look only")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
