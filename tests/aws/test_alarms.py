"""Alarms of endpoints: ours go with what they belong to, a user's own is never replaced or deleted."""

from __future__ import annotations

import pytest

from aws_scenes import S3_BUNDLE, Bench, Case, an_endpoint
from sagemaker_stand_in import StandIn

Capture = pytest.CaptureFixture[str]
UPDATE = f"{S3_BUNDLE} --endpoint-name chest --canary 10 --yes PLACE"


def alarm(stand_in: StandIn, endpoint: str, actions: list[str]) -> None:
    dimension = {"Name": "EndpointName", "Value": endpoint}
    metric = {"Namespace": "AWS/SageMaker", "MetricName": "Invocation5XXErrors", "Dimensions": [dimension]}
    stand_in.call("PutMetricAlarm", {"AlarmName": f"thorax-{endpoint}-errors", **metric, "AlarmActions": actions})


def with_a_pager(stand_in: StandIn) -> None:
    an_endpoint(stand_in)
    alarm(stand_in, "chest", ["arn:aws:sns:eu-central-1:123456789012:pager"])


def orphan(stand_in: StandIn) -> None:
    alarm(stand_in, "gone", [])


def test_a_users_own_alarm_of_that_name_is_not_replaced(bench: Bench, capsys: Capture) -> None:
    case = Case("deploy", UPDATE, with_a_pager)
    bench.set_up(case)
    before = dict(bench.stand_in.things["Alarm", "thorax-chest-errors"])
    assert bench.run(case) == 1
    assert (
        "there is an alarm thorax-chest-errors in CloudWatch, which this project did not make"
        in capsys.readouterr().err
    )
    assert bench.stand_in.things["Alarm", "thorax-chest-errors"] == before
    assert "CreateModel" not in bench.chaos.names


def test_nor_is_it_deleted_with_the_endpoint(bench: Bench, capsys: Capture) -> None:
    for words in ("chest --yes", "--all --yes"):
        bench.set_up(Case("delete", words, with_a_pager))
        assert bench.run(Case("delete", words)) == 0
        assert "deleted endpoint chest" in capsys.readouterr().out
        assert ("Alarm", "thorax-chest-errors") in bench.stand_in.things


def test_an_update_that_is_taken_back_leaves_no_alarm(bench: Bench, capsys: Capture) -> None:
    case = Case("deploy", UPDATE, an_endpoint)
    bench.set_up(case)
    assert bench.run(case) == 0
    assert ("Alarm", "thorax-chest-errors") in bench.stand_in.things
    at = bench.chaos.names.index("UpdateEndpoint")
    bench.set_up(case)
    bench.chaos.begin(at, "validation")
    assert bench.run(case) == 1
    assert "endpoint chest answers as before" in capsys.readouterr().err
    assert ("Alarm", "thorax-chest-errors") not in bench.stand_in.things


def test_an_alarm_that_was_there_stays_when_an_update_is_taken_back(bench: Bench) -> None:
    def updated_before(stand_in: StandIn) -> None:
        an_endpoint(stand_in)
        alarm(stand_in, "chest", [])

    case = Case("deploy", UPDATE, updated_before)
    bench.set_up(case)
    assert bench.run(case) == 0
    at = bench.chaos.names.index("UpdateEndpoint")
    bench.set_up(case)
    bench.chaos.begin(at, "validation")
    assert bench.run(case) == 1
    assert ("Alarm", "thorax-chest-errors") in bench.stand_in.things


def test_an_alarm_whose_endpoint_is_gone_is_listed_and_deleted(bench: Bench, capsys: Capture) -> None:
    bench.set_up(Case("status", "", orphan))
    assert bench.run(Case("status", "")) == 0
    assert "alarm thorax-gone-errors" in capsys.readouterr().out
    assert bench.run(Case("delete", "--all --yes")) == 0
    assert ("Alarm", "thorax-gone-errors") not in bench.stand_in.things
