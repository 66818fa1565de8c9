"""Search hyperparameters: a SageMaker tuning job, or with --local the same ranges as jobs on this machine under Optuna.

The recipe's `tune:` part names what is searched.

examples:
    python launch/tune.py pneumonia-resnet18 --local --train DIR --test DIR --max-jobs 10
    python launch/tune.py pneumonia-resnet18 --train s3://BUCKET/images/train --strategy hyperband --dry-run
    python launch/tune.py pneumonia-resnet18 --train s3://BUCKET/images/train --yes --deploy-best --yes
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax.files import check_output
from thorax_launch.cli import flags, leaderboard
from thorax_launch.invocation import command

#: Flags that replace a value of the recipe's `tune:` part.
CHANGES = (
    *("strategy", "max_jobs", "parallel_jobs", "early_stopping", "total_hours", "target", "not_improving"),
    *("until_converged", "autotune"),
)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done or started, 1 an error (the last line says which), 2 a wrong command line, 130 Ctrl-C; with
    --wait or --deploy-best those of `thorax follow`.
    """
    args = parser().parse_args(arguments)
    return flags.guarded(lambda: local(args) if args.local else flags.on_aws(lambda: on_aws(args)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument("recipe", help="a name in launch/recipes, or a path to a YAML file; it must have a tune: part")
    flags.add_local(p)
    flags.add_channels(p)
    g = p.add_argument_group("search (defaults: the recipe's)")
    g.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a hyperparameter that is not searched; objective=f1 changes the goal",
    )
    g.add_argument(
        "--job-name", metavar="NAME", help="of the search; with --local the name of a stopped search goes on with it"
    )
    g.add_argument("--strategy", metavar="NAME", help="bayesian, random, hyperband or grid")
    g.add_argument("--max-jobs", type=int, metavar="N", help="jobs in all")
    g.add_argument(
        "--total-hours", type=float, metavar="H", help="end the search after so long, with the jobs that run then"
    )
    g.add_argument("--target", type=float, metavar="VALUE", help="end it when the objective reaches that")
    g.add_argument(
        "--not-improving",
        type=int,
        metavar="N",
        help="end it after N jobs in a row without a best that is better by 1 percent",
    )
    add = flags.for_aws(p, g)
    add(
        "--until-converged",
        action=argparse.BooleanOptionalAction,
        help="on AWS: end it when AWS finds that it has converged",
    )
    add("--autotune", action=argparse.BooleanOptionalAction, help="on AWS: let AWS choose what the recipe leaves open")
    add("--parallel-jobs", type=int, metavar="N", help="jobs at once, on AWS (here: one)")
    g.add_argument(
        "--early-stopping",
        action=argparse.BooleanOptionalAction,
        help="stop jobs that do worse than the median of the others",
    )
    add(
        "--warm-start",
        action="append",
        default=[],
        metavar="NAME",
        help="on AWS: learn from that earlier tuning job; may be repeated",
    )
    add("--wait", action="store_true", help="on AWS: until the search ends; Ctrl-C asks whether to stop it")
    add("--transfer", action="store_true", help="with --warm-start: data or code changed since then")
    g.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes per machine that train together (default: one per GPU; here: 1)",
    )
    for flag in ("--debugger", "--profiler"):  # refused: AWS's tuning jobs carry neither
        add(flag, action="store_true", help=argparse.SUPPRESS)
    g.add_argument(
        "--plot", type=Path, metavar="FILE", help="with --local: where the plot goes (default: in the search's folder)"
    )
    g.add_argument(
        "--deploy-best",
        nargs=argparse.REMAINDER,
        metavar="FLAG",
        help="wait, then deploy the best job; what follows is for `thorax deploy`",
    )
    flags.add_machine(p)
    flags.add_settings(p)
    return p


def local(args: argparse.Namespace) -> int:
    """Runs the search here."""
    from thorax_launch.cli.local_jobs import run_search  # late: --help is instant
    from thorax_launch.hyperparameters import from_settings
    from thorax_launch.local.searches import tune

    flags.check_local(args)
    if args.plot:
        check_output(args.plot, "--plot")
    search = tune(
        args.recipe,
        flags.local_channels(flags.channels(args)),
        hyperparameters=from_settings(args.set),
        runs=args.runs,
        job_name=args.job_name,
        processes=flags.positive("--processes", args.processes) or 1,
        **changes(args),
    )
    code = run_search(search, args.plot)
    if code or args.deploy_best is None:
        return code
    words = [search.name, "--local", "--runs", str(args.runs), "--deploy-best", *args.deploy_best]
    return leaderboard.main(words)


def on_aws(args: argparse.Namespace) -> int:
    """Sends the search to SageMaker."""
    from thorax_launch.cli import aws, best_endpoint, follow  # late: --help is instant
    from thorax_launch.sagemaker.search import TuningJob, plan_search

    settings = aws.settings_of(args)
    recipe, channels, hyperparameters, options = aws.job_arguments(args)
    options |= {**changes(args), "warm_start": args.warm_start, "transfer": args.transfer}
    plan = plan_search(recipe, channels, hyperparameters, options, settings)
    if args.deploy_best is not None:
        best_endpoint.check(args.deploy_best, settings)
    if not aws.begin(plan, settings, args):
        return 1
    print(f"its jobs so far, best first: {command('leaderboard')} {plan.name}", flush=True)
    if args.deploy_best is None and not args.wait:
        return 0
    search = TuningJob(plan.name, settings)
    if code := follow.watch(search):
        return code
    board = search.leaderboard()
    board.print()
    if args.deploy_best is None:
        return 0
    more = ["--settings", str(args.settings)] if args.settings else []
    return best_endpoint.deploy_job(leaderboard.best(board).name, settings, args.deploy_best, more)


def changes(args: argparse.Namespace) -> dict[str, object]:
    """The flags that replace the recipe's `tune:` values."""
    return {name: getattr(args, name) for name in CHANGES}
