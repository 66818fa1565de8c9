"""sagemaker.attach: a handle on what is there already, by its name alone; a job's bundle behind an endpoint."""

from __future__ import annotations

import pytest

from aws_scenes import TAGS, Bench, Case, an_endpoint, everything, running_job, search_done
from sagemaker_stand_in import StandIn
from thorax.errors import ThoraxError
from thorax_launch import sagemaker
from thorax_launch.settings import AwsSettings

BUNDLE = "s3://films/thorax/sweep-001/output/model.tar.gz"


def searched(stand_in: StandIn) -> None:
    search_done(stand_in)
    an_endpoint(stand_in)


@pytest.mark.parametrize(
    ("name", "kind", "state"),
    [
        ("one", "TrainingJob", "InProgress"),
        ("sweep", "TuningJob", "InProgress"),
        ("scores", "TransformJob", "InProgress"),
        ("check", "ProcessingJob", "InProgress"),
        ("chain", "PipelineRun", "Executing"),
        ("chest", "Endpoint", "InService"),
    ],
)
def test_what_runs_is_found_by_its_name(name: str, kind: str, state: str, bench: Bench) -> None:
    bench.set_up(Case("", "", everything, None))
    handle = sagemaker.attach(name)
    assert (type(handle).__name__, handle.status()) == (kind, state)


def test_a_finished_search_has_its_best_jobs_bundle(bench: Bench) -> None:
    bench.set_up(Case("", "", searched))
    search = sagemaker.attach("sweep")
    assert search.status() == "Completed"
    assert search.best.bundle == BUNDLE
    assert sagemaker.attach("sweep-001").wait(logs=False) == "Completed"


def test_a_jobs_bundle_is_deployed_as_its_record_says(bench: Bench) -> None:
    bench.set_up(Case("", "", searched))
    endpoint = sagemaker.attach("sweep").best.deploy("new", instance_type="ml.m5.xlarge")
    (model,) = [one for (kind, name), one in bench.stand_in.things.items() if kind == "Model" and name[:3] == "new"]
    assert model["PrimaryContainer"]["ModelDataUrl"] == BUNDLE
    assert model["ExecutionRoleArn"] == "arn:aws:iam::123456789012:role/thorax-execution"
    assert sagemaker.attach("new").predict([b"image"])[0]["labels"] == ["A"]
    endpoint.delete()


def test_of_several_things_the_kind_says_which(bench: Bench) -> None:
    bench.set_up(Case("", "", lambda stand_in: (an_endpoint(stand_in), running_job(stand_in, "chest"))))
    with pytest.raises(ThoraxError, match=r"^chest is the name of several things \(training, endpoint\): say which"):
        sagemaker.attach("chest")
    assert type(sagemaker.attach("chest", kind="endpoint")).__name__ == "Endpoint"
    assert type(sagemaker.attach("chest", kind="training")).__name__ == "TrainingJob"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("nobody", "", "there is no training job, search, batch transform, processing job or pipeline nobody"),
        ("nobody", "endpoint", "there is no endpoint nobody in eu-central-1"),
        ("one", "job", "kind=job must be one of training, search, transform, processing, pipeline, endpoint"),
    ],
)
def test_what_is_not_there(name: str, kind: str, message: str, bench: Bench) -> None:
    with pytest.raises(ThoraxError) as caught:
        sagemaker.attach(name, kind=kind, settings=AwsSettings(region="eu-central-1"))
    assert str(caught.value).startswith(message)


def test_a_name_without_an_endpoint_says_what_was_looked_for(bench: Bench) -> None:
    bench.stand_in.call("CreateModel", {"ModelName": "lost", "Tags": TAGS})
    with pytest.raises(ThoraxError, match="there is no training job, search"):
        sagemaker.attach("lost")
