"""From a command line to a recipe, settings and a task; and from a plan to the end of the command."""

from __future__ import annotations

import logging
from argparse import Namespace

from thorax_launch.cli import flags
from thorax_launch.names import dated
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker import account, follow, submission
from thorax_launch.sagemaker.training_jobs import Plan, Task
from thorax_launch.settings import AwsSettings, pairs


def job(args: Namespace, longest_name: int = 63) -> tuple[Recipe, AwsSettings, Task]:
    """What the flags of a training or tuning command mean.

    Args:
        longest_name: characters that AWS takes for the name of such a job.

    Raises:
        ThoraxError: a wrong flag or recipe.
        flags.Done: after --explain-settings.
    """
    quiet()
    recipe = Recipe.load(args.recipe).on(
        instance_type=args.instance_type,
        instance_count=args.instance_count,
        volume_gb=args.volume_gb,
        max_hours=args.max_hours,
        spot=args.spot,
        max_wait_hours=args.max_wait_hours,
        warm_pool_minutes=args.warm_pool_minutes,
        input_mode=args.input_mode,
    )
    resolved = account.settings(args)
    if args.explain_settings:
        print(resolved.table())
        raise flags.CommandDone
    task = Task(
        name=args.job_name or dated(recipe.name, longest_name),
        channels=flags.channels(args),
        hyperparameters=recipe.with_overrides(args.set),
        content_types=pairs("--content-type", args.content_type),
        environment=pairs("--env", args.env),
        wheels=args.wheels,
        resume=getattr(args, "resume", ""),
        processes=flags.positive("--processes", args.processes) or 0,
        debugger=getattr(args, "debugger", False),
        profiler=getattr(args, "profiler", False),
    )
    return recipe, resolved.settings, task


def quiet() -> None:
    """Silences the SDK's own INFO lines: one for each file that is not there."""
    for logger in ("sagemaker", "sagemaker.core", "sagemaker.config"):
        logging.getLogger(logger).setLevel(logging.ERROR)


def finish(plan: Plan, settings: AwsSettings, args: Namespace) -> int:
    """Shows the plan (--dry-run) or carries it out. 0, or 1 where the person said no."""
    if args.dry_run:
        submission.show(plan, settings)
        return 0
    return 0 if submission.submit(plan, settings, yes=args.yes) else 1


def watch(job_name: str, settings: AwsSettings) -> int:
    """See follow.follow."""
    return follow.follow(job_name, settings)
