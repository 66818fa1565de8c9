"""From a plan to a running job: shown, confirmed, uploaded, sent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax_launch.sagemaker import cost
from thorax_launch.sagemaker.account import client, one_line_errors, open_session
from thorax_launch.sagemaker.package import Upload, upload
from thorax_launch.sagemaker.training_jobs import Plan
from thorax_launch.settings import AwsSettings

if TYPE_CHECKING:
    import boto3

SHOWN = 20


def show(plan: Plan, settings: AwsSettings) -> None:
    """--dry-run: the exact request as JSON on standard output; files, cost and stand-ins on standard error."""
    told = summary(plan, settings, len(plan.uploads))
    print(plan.request.text())
    print(told, file=sys.stderr)


def summary(plan: Plan, settings: AwsSettings, shown: int = SHOWN) -> str:
    """What would be uploaded where, and what it can cost."""
    prices = cost.Prices.load(Path(settings.prices)) if settings.prices else None
    lines = [f"{plan.request.operation}: {plan.name}", *files(plan.uploads, shown)]
    if plan.request.arguments.get("debug_hook_config"):
        lines.append(
            "note:     AWS closed Debugger to new customers on 2026-07-30; accounts that did not use it before are"
            " refused"
        )
    return "\n".join([*lines, cost.told(plan.recipe, settings.region, prices, plan.jobs, plan.parallel)])


def files(uploads: Sequence[Upload], shown: int = SHOWN) -> list[str]:
    """A line for each upload, the first `shown` of them by name."""
    lines = [f"{one.size:>14,}  {one.uri}" for one in uploads[:shown]]
    if len(uploads) > shown:
        lines.append(f"{sum(one.size for one in uploads[shown:]):>14,}  in {len(uploads) - shown} more files")
    return [f"upload:   {len(uploads)} files, {sum(one.size for one in uploads):,} bytes", *lines]


def put(uploads: Sequence[Upload], session: boto3.Session, settings: AwsSettings) -> None:
    """Uploads, under a bar on a terminal.

    Raises:
        ThoraxError: AWS refuses.
    """
    from tqdm import tqdm

    with one_line_errors(settings):
        for _ in tqdm(
            upload(client(session, "s3"), uploads, settings.kms_key),
            "uploading",
            len(uploads),
            unit="file",
            disable=None,
        ):
            pass


def submit(plan: Plan, settings: AwsSettings, *, yes: bool) -> bool:
    """Asks, uploads, sends; says what was made. False where the person said no.

    Raises:
        ThoraxError: no terminal to ask on and no --yes, or AWS refuses.
    """
    print(summary(plan, settings), file=sys.stderr)
    if not yes and not confirmed("start it?"):
        return False
    session = open_session(settings)
    put(plan.uploads, session, settings)
    with one_line_errors(settings, f"; {plan.name} may have started all the same: look there before you try again"):
        plan.request.send(session)
    print(f"{plan.request.resource} {plan.name} is started in {settings.region}")
    return True


def confirmed(question: str) -> bool:
    """The answer of the person at the terminal.

    Raises:
        ThoraxError: there is none.
    """
    if not sys.stdin.isatty():
        raise ThoraxError("no terminal to confirm on: give --yes to go ahead, or --dry-run to look only")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
