"""Check images, train, evaluate, and register the bundle if it is better than those before it, on SageMaker or here.

examples:
    python launch/pipeline.py pneumonia-resnet18 --local --train images/train --test images/test --group chest
    python launch/pipeline.py pneumonia-resnet18 --train images/train --test images/test --group chest --dry-run
    python launch/pipeline.py pneumonia-resnet18 --train s3://BUCKET/train --test s3://BUCKET/test --group chest --start
"""

from __future__ import annotations

import argparse

from thorax_launch.cli import flags
from thorax_launch.options import StepOptions, chosen


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done or made, 1 an error (the last line says which), 2 a wrong command line, 130 stopped."""
    args = parser().parse_args(arguments)
    return flags.guarded(lambda: local(args) if args.local else flags.on_aws(lambda: on_aws(args)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument("recipe", help="a name in launch/recipes, or a path to a YAML file")
    flags.add_local(p)
    flags.add_channels(p)
    g = p.add_argument_group("pipeline")
    g.add_argument(
        "--group",
        required=True,
        metavar="GROUP",
        help="model registry: the group; with --local the folder RUNS/registry/GROUP",
    )
    g.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a hyperparameter; may be repeated"
    )
    g.add_argument(
        "--job-name", metavar="NAME", help="of the pipeline (default: thorax-RECIPE); with --local of the training job"
    )
    flags.for_aws(p, g)("--start", action="store_true", help="on AWS: also start it")
    flags.add_options(flags.for_aws(p, g), StepOptions)
    g.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes per machine that train together (default: one per GPU; here: 1)",
    )
    flags.add_machine(p)
    flags.add_settings(p)
    return p


def local(args: argparse.Namespace) -> int:
    """The steps one after the other, here."""
    from thorax_launch.cli.local_pipeline import run  # late: --help is instant
    from thorax_launch.hyperparameters import from_settings
    from thorax_launch.recipe import Recipe

    flags.check_local(args)
    return run(
        Recipe.load(args.recipe),
        flags.local_channels(flags.channels(args)),
        hyperparameters=from_settings(args.set),
        runs=args.runs,
        group=args.group,
        name=args.job_name or "",
        processes=flags.positive("--processes", args.processes) or 1,
    )


def on_aws(args: argparse.Namespace) -> int:
    """Makes the pipeline, or replaces it."""
    from thorax_launch.cli import aws  # late: --help is instant
    from thorax_launch.names import clean
    from thorax_launch.recipe import Recipe
    from thorax_launch.sagemaker import pipeline_runs, pipelines
    from thorax_launch.sagemaker.jobs import describe_job

    settings = aws.settings_of(args)
    name, channels, hyperparameters, options = aws.job_arguments(args)
    recipe = Recipe.load(name)
    lasting = {"job_name": options["job_name"] or clean(f"thorax-{recipe.name}")}
    recipe, task = describe_job(recipe, channels, hyperparameters, options | lasting)
    steps = chosen(StepOptions, flags.options_of(args, StepOptions))
    plan = pipelines.plan(recipe, settings, task, args.group, steps)
    if args.dry_run:
        aws.show(plan.definition, plan.summary(), args)
    if not aws.agreed(plan.summary(), "make and start it?" if args.start else "make it?", args.yes):
        return 1
    pipeline_runs.submit_pipeline(plan, start=args.start)
    return 0
