"""Settings of a server: from the environment, whole or refused."""

from __future__ import annotations

import pytest

from thorax.errors import ThoraxError
from thorax.serving.settings import Replicas, ServerSettings, bundle_folder


def test_without_any_the_defaults():
    assert ServerSettings.from_environment({}) == ServerSettings()
    assert ServerSettings.from_environment({"PATH": "/bin", "SAGEMAKER_REGION": "x"}) == ServerSettings()


def test_variables_are_read_and_arguments_win():
    environment = {
        "THORAX_MAX_BATCH": "8",
        "THORAX_MAX_WAIT_MS": "2.5",
        "THORAX_S3_PREFIXES": "s3://a/b, s3://c",
        "THORAX_PRECISION": "float32",
        "THORAX_BUNDLE": "/x",
        "THORAX_GPUS": "0.5",
        "THORAX_REALDATA": "/y",
    }
    found = ServerSettings.from_environment(environment, max_batch=4)
    assert (found.max_batch, found.max_wait_ms, found.s3_prefixes, found.precision) == (
        4,
        2.5,
        ("s3://a/b", "s3://c"),
        "float32",
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SAGEMAKER_BATCH": "true"}, True),
        ({"SAGEMAKER_BATCH": "false"}, False),
        ({"SAGEMAKER_BATCH": "true", "THORAX_BATCH_JOB": "false"}, False),
        ({"THORAX_BATCH_JOB": "true"}, True),
    ],
)
def test_sagemaker_says_what_is_a_batch_job(environment, expected):
    assert ServerSettings.from_environment(environment).batch_job is expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("MAX_BATCH", "many", "THORAX_MAX_BATCH=many is not a whole number"),
        ("MAX_WAIT_MS", "x", "THORAX_MAX_WAIT_MS=x is not a number"),
        ("MAX_BATCH", "-1", "THORAX_MAX_BATCH=-1 must be 0 or more"),
        ("MAX_QUEUE", "0", "THORAX_MAX_QUEUE=0 must be above 0"),
        ("TIMEOUT_S", "nan", "THORAX_TIMEOUT_S=nan must be above 0"),
        ("BATCH_JOB", "yes", "THORAX_BATCH_JOB=yes must be true or false"),
        ("WORKERS", "-1", "THORAX_WORKERS=-1 must be 0 or more"),
        ("MAXBATCH", "4", "THORAX_MAXBATCH is no setting; there are THORAX_PRECISION"),
        ("S3_PREFIXES", "images", "THORAX_S3_PREFIXES names images; write s3://bucket"),
        ("S3_PREFIXES", "s3:///x", "THORAX_S3_PREFIXES names s3:///x"),
    ],
)
def test_a_wrong_one_is_named(name, text, expected):
    with pytest.raises(ThoraxError) as caught:
        ServerSettings.from_environment({f"THORAX_{name}": text})
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("given", "gpu", "cpus", "want"),
    [
        ({}, False, 1, (1, 1)),
        ({}, False, 2, (2, 1)),
        ({}, False, 4, (4, 1)),
        ({}, False, 16, (4, 4)),
        ({}, False, 0.5, (1, 1)),
        ({}, True, 16, (1, 16)),
        ({"threads": 8}, False, 16, (2, 8)),
        ({"workers": 2}, False, 16, (2, 8)),
        ({"workers": 3, "threads": 2}, False, 1, (3, 2)),
    ],
)
def test_cpus_are_shared_out(given, gpu, cpus, want):
    placed = ServerSettings(**given).placed(gpu, cpus)
    assert (placed.workers, placed.threads) == want


def test_replicas():
    assert Replicas.from_environment({}) == Replicas()
    found = Replicas.from_environment(
        {"THORAX_REPLICAS": "2", "THORAX_MAX_REPLICAS": "5", "THORAX_GPUS": "0.5", "THORAX_CPUS": "3"}
    )
    assert found == Replicas(2, 5, 3.0, 0.5)
    for name, text in (("REPLICAS", "0"), ("CPUS", "0"), ("GPUS", "-2"), ("REPLICAS", "two")):
        with pytest.raises(ThoraxError, match="THORAX_REPLICAS"):
            Replicas.from_environment({f"THORAX_{name}": text})


def test_the_bundle_is_where_the_variable_says(tmp_path):
    assert bundle_folder(tmp_path, {}) == tmp_path
    assert str(bundle_folder(tmp_path, {"THORAX_BUNDLE": "/b"})) == "/b"


def test_a_former_name_works_with_one_line(capsys):
    assert ServerSettings.from_environment({"THORAX_MAX_FILMS": "3"}).max_images == 3
    assert capsys.readouterr().err == "warning: THORAX_MAX_FILMS is deprecated; write THORAX_MAX_IMAGES\n"


@pytest.mark.parametrize("variable", ["TOKEN", "HOSTS"])
def test_a_guard_that_a_server_does_not_have_is_not_left_out_in_silence(variable):
    settings = ServerSettings.from_environment({f"THORAX_{variable}": "x" * 20})
    with pytest.raises(ThoraxError, match=f"THORAX_{variable} is set, but Ray Serve answers everybody"):
        settings.without_guard("Ray Serve")
    assert ServerSettings().without_guard("TorchServe") == ServerSettings()
