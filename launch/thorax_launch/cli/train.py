"""Train a recipe: on Amazon SageMaker, or with --local on this machine in a job directory laid out as /opt/ml.

examples:
    python launch/train.py pneumonia-resnet18 --local --train DIR --test DIR
    python launch/train.py demo --local --set epochs=3 --job-name first
    python launch/train.py pneumonia-resnet18 --local --train DIR --test DIR --folds 5 --refit --job-name cv
    python launch/train.py pneumonia-resnet18 --train images/train --test images/test --dry-run
    python launch/train.py pneumonia-resnet18 --train s3://BUCKET/images/train --spot --wait
    python launch/train.py --resume JOB --max-hours 4 --wait      # go on from JOB's checkpoints, all else as it was
    python launch/train.py --again JOB --set epochs=30            # JOB's own record, from the start
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax_launch.cli import flags
from thorax_launch.invocation import command

if TYPE_CHECKING:
    from thorax_launch.sagemaker.training_jobs import JobPlan
    from thorax_launch.settings import AwsSettings


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done or started, 1 an error (the last line says which), 2 a wrong command line, 130 Ctrl-C; with
    --wait those of `thorax follow`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    p = parser()
    args = p.parse_args(given)
    if not args.recipe and (args.local or not (args.resume or args.again)):
        p.error("name the recipe, or the job to go on from (--resume JOB) or to train once more (--again JOB)")
    if args.again and (args.recipe or args.resume):
        p.error("--again JOB takes everything from that job: leave out the recipe and --resume")
    if args.refit and not args.folds:
        p.error("--refit is the end of a cross-validation: give --folds K too")
    return flags.guarded(lambda: local(args, given) if args.local else flags.on_aws(lambda: on_aws(args)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument("recipe", nargs="?", help="a name in launch/recipes, or a path to a YAML file")
    flags.add_local(p)
    flags.add_channels(p)
    g = p.add_argument_group("job")
    g.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a hyperparameter; may be repeated"
    )
    g.add_argument(
        "--job-name", metavar="NAME", help="default: recipe and time; with --local the name of a stopped job resumes it"
    )
    g.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="cross-validation: a job for each of K folds of patients; the same --job-name goes on",
    )
    g.add_argument(
        "--refit",
        action="store_true",
        help="with --folds --local: then train on all images, for the median of the folds' best epochs",
    )
    g.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes per machine that train together (default: one per GPU; here: 1)",
    )
    add = flags.for_aws(p, g)
    add(
        "--resume",
        default="",
        metavar="JOB",
        help="on AWS: go on from the checkpoints of that job; without a recipe all else is as in that job",
    )
    add("--again", default="", metavar="JOB", help="on AWS: that job's own record once more, from the start")
    add("--wait", action="store_true", help="on AWS: show the log until the job ends; Ctrl-C asks whether to stop it")
    add(
        "--debugger",
        action="store_true",
        help="on AWS: SageMaker Debugger's hook and rules (closed to new customers since 2026-07-30)",
    )
    add(
        "--rule",
        action="append",
        default=[],
        metavar="NAME[:PARAMETER=VALUE...]",
        help="with --debugger: one of AWS's built-in rules, in place of the usual five; may be repeated",
    )
    add("--profiler", action="store_true", help="on AWS: SageMaker's profiler (ends 2027-06-30)")
    flags.add_machine(p)
    flags.add_settings(p)
    return p


def local(args: argparse.Namespace, given: list[str]) -> int:
    """Runs the job here."""
    from thorax_launch.cli.local_jobs import run_job  # late: --help is instant
    from thorax_launch.hyperparameters import from_settings
    from thorax_launch.local.jobs import train

    flags.check_local(args)
    if args.folds is not None:
        return local_folds(args, given)
    job = train(
        args.recipe,
        flags.local_channels(flags.channels(args)),
        hyperparameters=from_settings(args.set),
        runs=args.runs,
        job_name=args.job_name,
        processes=flags.positive("--processes", args.processes) or 1,
    )
    named = given if args.job_name else [*given, "--job-name", job.name]
    return run_job(job, f"{command('train')} {shlex.join(named)}")


def local_folds(args: argparse.Namespace, given: list[str]) -> int:
    """Runs a cross-validation here."""
    from thorax_launch.cli.local_jobs import run_folds  # late: --help is instant
    from thorax_launch.hyperparameters import from_settings
    from thorax_launch.local.folds import cross_validate

    found = cross_validate(
        args.recipe,
        flags.local_channels(flags.channels(args)),
        folds=args.folds,
        refit=args.refit,
        hyperparameters=from_settings(args.set),
        runs=args.runs,
        job_name=args.job_name,
        processes=flags.positive("--processes", args.processes) or 1,
    )
    named = given if args.job_name else [*given, "--job-name", found.name]
    return run_folds(found, f"{command('train')} {shlex.join(named)}")


def on_aws(args: argparse.Namespace) -> int:
    """Sends the job to SageMaker."""
    from thorax_launch.cli import aws, follow  # late: --help is instant
    from thorax_launch.sagemaker.jobs import TrainingJob, plan_training

    if args.folds is not None:
        return folds_on_aws(args)
    if args.recipe:
        settings = aws.settings_of(args)
        plan = plan_training(*aws.job_arguments(args), settings)
    else:
        plan, settings = _from_record(args)
    if not aws.begin(plan, settings, args):
        return 1
    return follow.watch(TrainingJob(plan.name, settings)) if args.wait else 0


def folds_on_aws(args: argparse.Namespace) -> int:
    """Sends a job for each fold to SageMaker."""
    from thorax_launch.cli import aws  # late: --help is instant
    from thorax_launch.sagemaker.folds import plan_folds, start, together
    from thorax_launch.sagemaker.submission import summary

    for flag, given in (("--refit", args.refit), ("--wait", args.wait), ("--again", args.again)):
        if given:
            again = f"{command('folds')} gather NAME" + " --refit" * args.refit
            raise ThoraxError(f"{flag} with --folds on AWS: leave it out; once all jobs are done: {again}")
    settings = aws.settings_of(args)
    name, plans = plan_folds(*aws.job_arguments(args), settings, args.folds)
    described = summary(together(name, plans), settings)
    if args.dry_run:
        aws.show([plan.request.parameters for plan in plans], described, args)
    if not aws.agreed(described, "start them?", args.yes):
        return 1
    start(plans, settings)
    print(f"{len(plans)} training jobs of {name} are started in {settings.region}", flush=True)
    print(f"once they are done: {command('folds')} gather {name}")
    return 0


def _from_record(args: argparse.Namespace) -> tuple[JobPlan, AwsSettings]:
    """The plan of --resume or --again, and the settings, both from the job's own record.

    Raises:
        ThoraxError: a flag that the record answers.
    """
    from thorax_launch.hyperparameters import from_settings
    from thorax_launch.sagemaker.account import place
    from thorax_launch.sagemaker.records import CHANGEABLE, Changes, plan_again

    name, flag = args.resume or args.again, "--resume" if args.resume else "--again"
    kept = {
        *CHANGEABLE,
        *[
            "recipe",
            "resume",
            "again",
            "job_name",
            "set",
            "wait",
            "yes",
            "dry_run",
            "json",
            "full",
            "settings",
            "profile",
            "region",
            "prices",
        ],
    }
    for action in parser()._actions:
        value = getattr(args, action.dest, None)
        if action.option_strings and action.dest not in kept and value not in (None, action.default, [], {}):
            raise ThoraxError(
                f"{action.option_strings[0]} with {flag} {name}: that is as it was in the job's own record; leave it"
                " out, or name the recipe and give everything anew"
            )
    machine = {key: value for key in CHANGEABLE if (value := getattr(args, key)) is not None}
    changes = Changes(args.job_name or "", from_settings(args.set), machine)
    where = place(args.profile or "", args.region or "", args.settings)
    where = dataclasses.replace(where, prices=args.prices or where.prices)
    return plan_again(name, where, changes, resume=bool(args.resume))
