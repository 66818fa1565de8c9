"""From a plan to a running job: what would be sent in words, the upload, the request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.cost import job_cost
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.package import Upload, upload
from thorax_launch.sagemaker.training_jobs import JobPlan
from thorax_launch.settings import AwsSettings

if TYPE_CHECKING:
    import boto3

#: Files that a summary names.
SHOWN = 20


def summary(plan: JobPlan, settings: AwsSettings, shown: int = SHOWN) -> str:
    """What would be uploaded where, and what it can cost."""
    lines = [f"{plan.request.operation}: {plan.name}", *file_lines(plan.uploads, shown)]
    if plan.request.parameters.get("DebugHookConfig"):
        lines.append(
            "note:     AWS closed Debugger to new customers on 2026-07-30; accounts that did not use it before are"
            " refused"
        )
    return "\n".join([*lines, job_cost(plan.recipe, settings, plan.jobs, plan.parallel)])


def file_lines(uploads: Sequence[Upload], shown: int = SHOWN) -> list[str]:
    """A line for each upload, the first `shown` of them by name."""
    lines = [f"{file.size:>14,}  {file.uri}" for file in uploads[:shown]]
    if len(uploads) > shown:
        lines.append(f"{sum(file.size for file in uploads[shown:]):>14,}  in {len(uploads) - shown} more files")
    return [f"upload:   {len(uploads)} files, {sum(file.size for file in uploads):,} bytes", *lines]


def upload_all(uploads: Sequence[Upload], session: boto3.Session, settings: AwsSettings) -> None:
    """Uploads, under a bar on a terminal. Raises ThoraxError: AWS refuses."""
    from tqdm import tqdm

    with one_line_errors(settings):
        done = upload(client(session, "s3"), uploads, settings.kms_key)
        for _ in tqdm(done, "uploading", len(uploads), unit="file", disable=None):
            pass


def submit(plan: JobPlan, settings: AwsSettings) -> None:
    """Uploads, then sends the request. Raises ThoraxError: AWS refuses."""
    session = open_session(settings)
    upload_all(plan.uploads, session, settings)
    with one_line_errors(settings, may_have_started(plan.name)):
        plan.request.send(session)


def may_have_started(name: str) -> str:
    """The end of a message where no answer to a request came."""
    return f"; {name} may have started all the same: look there before you try again"
