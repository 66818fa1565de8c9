"""From a planned pipeline to a run of it: made or replaced, started, and never started twice for a lost answer."""

from __future__ import annotations

from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.invocation import command
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.endings import stopped_by
from thorax_launch.sagemaker.errors import if_there, one_line_errors
from thorax_launch.sagemaker.pipelines import BEST, CHANCE, Pipeline
from thorax_launch.sagemaker.submission import upload_all


def submit_pipeline(pipeline: Pipeline, *, start: bool) -> None:
    """Uploads, makes the pipeline or replaces its definition, and starts it. Raises ThoraxError: AWS refuses."""
    from botocore.exceptions import ClientError

    session = open_session(pipeline.settings)
    upload_all(pipeline.uploads, session, pipeline.settings)
    sagemaker, request = client(session, "sagemaker"), pipeline.request()
    with one_line_errors(pipeline.settings):
        try:
            sagemaker.create_pipeline(**request)
        except ClientError as error:
            if "already exists" not in str(error):
                raise
            changed = {key: request[key] for key in ("PipelineName", "PipelineDefinition", "RoleArn")}
            sagemaker.update_pipeline(**changed)
        print(f"Pipeline {pipeline.name} is there; it costs nothing until it is started", flush=True)
        best = best_so_far(sagemaker, pipeline.group) if start else CHANCE
    if start:
        arn = _start(pipeline, sagemaker, best)
        print(f"started: {arn}; registers where the test AUC is above {best:.6f}")


def _start(pipeline: Pipeline, sagemaker: Any, best: float) -> str:
    """ARN of the run that is started; where no answer came, AWS is asked for it.

    Raises:
        ThoraxError: it was not started, or the line says that it may have been.
    """
    from botocore.exceptions import BotoCoreError

    name, parameters = pipeline.name, [{"Name": BEST, "Value": f"{best:.6f}"}]
    before = _runs(pipeline, sagemaker)
    try:
        with one_line_errors(pipeline.settings):
            try:
                made = sagemaker.start_pipeline_execution(PipelineName=name, PipelineParameters=parameters)
                return str(made["PipelineExecutionArn"])
            except BotoCoreError:  # no answer: it may have been started
                if new := [arn for arn in _runs(pipeline, sagemaker, unsure=True) if arn not in before]:
                    return new[0]
                raise
    except UnsureError:
        raise
    except ThoraxError as error:
        raise ThoraxError(f"{error}; no run was started: the same command starts one") from None


class UnsureError(ThoraxError):
    """Whether a run was started is not known."""


def _runs(pipeline: Pipeline, sagemaker: Any, unsure: bool = False) -> list[str]:
    """ARNs of the pipeline's latest runs, the newest first.

    Raises:
        ThoraxError: AWS refuses; UnsureError with `unsure`.
    """
    try:
        with one_line_errors(pipeline.settings):
            listed = sagemaker.list_pipeline_executions(
                PipelineName=pipeline.name, SortBy="CreationTime", SortOrder="Descending", MaxResults=20
            )
            return [found["PipelineExecutionArn"] for found in listed["PipelineExecutionSummaries"]]
    except Exception as error:
        if not unsure:
            raise
        raise UnsureError(
            f"{stopped_by(error)}; a run of {pipeline.name} may have been started: `{command('follow')}"
            f" {pipeline.name}` tells; give --start again only where none runs"
        ) from None


def best_so_far(sagemaker: Any, group: str) -> float:
    """The highest AUC that a pipeline has registered in the group and that was not rejected; 0.5 where there is none.

    A group that does not exist is made.
    """
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    listed = if_there(lambda: [package for page in pages for package in page["ModelPackageSummaryList"]])
    if listed is None:
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    best = CHANCE
    for package in listed or []:
        found = sagemaker.describe_model_package(ModelPackageName=package["ModelPackageArn"])
        if found.get("ModelApprovalStatus") != "Rejected":
            best = max(best, float(found.get("CustomerMetadataProperties", {}).get("auc", CHANCE)))
    return best
