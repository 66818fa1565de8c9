"""`thorax deploy --weights A=90,B=10`: an endpoint divides its requests anew among its variants."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.names import clean
from thorax_launch.options import did_you_mean
from thorax_launch.sagemaker import status, variants
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.capacity import weights_of
from thorax_launch.sagemaker.endings import StoppedError, Terminated, stopped_by
from thorax_launch.sagemaker.errors import one_line_errors
from thorax_launch.sagemaker.figures import failures
from thorax_launch.sagemaker.hosting import HostingSpec, Variant
from thorax_launch.sagemaker.requests import check_parameters
from thorax_launch.sagemaker.smoke_tests import smoke_test
from thorax_launch.sagemaker.summaries import Summary
from thorax_launch.settings import AwsSettings

_CALL = "UpdateEndpointWeightsAndCapacities"


@dataclass(frozen=True)
class Move:
    """One change of an endpoint's weights.

    Attributes:
        endpoint: its name.
        before: variant -> weight; empty where nothing was asked of AWS.
        after: the same.
        bake_minutes: how long answers of 5xx take it back.
    """

    endpoint: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    bake_minutes: int = 0

    @property
    def request(self) -> dict[str, Any]:
        """Parameters of the call."""
        return _request(self.endpoint, self.after)

    def summary(self) -> Summary:
        """What changes."""
        notes = [f"before:   {variants.in_words(self.before)}"] if self.before else []
        if self.bake_minutes:
            notes.append(f"guard:    answers of 5xx in the {self.bake_minutes} minutes after it take it back")
        does = f"endpoint {self.endpoint}, {variants.in_words(self.after)}"
        return Summary((does,), notes=tuple(notes), verb="changes")


def weights(text: str) -> dict[str, float]:
    """Variant -> weight, of A=90,B=10.

    Raises:
        ThoraxError: it is none.
    """
    found: dict[str, float] = {}
    for one in text.split(","):
        name, _, weight = one.partition("=")
        try:
            number = float(weight)
        except ValueError:
            number = -1
        if not name or not 0 <= number <= 1_000_000 or name in found:
            raise ThoraxError(f"--weights {text} must be VARIANT=WEIGHT,VARIANT=WEIGHT, each once and 0 or more")
        found[name] = number
    return found


def plan(endpoint: str, text: str, settings: AwsSettings, bake_minutes: int = 0, offline: bool = False) -> Move:
    """The change, checked against AWS's model and, unless `offline`, the endpoint as it is.

    Raises:
        ThoraxError: no such endpoint or variant, it cannot be changed now, or nobody would get a request.
    """
    given = weights(text)
    if not endpoint or clean(endpoint) != endpoint:
        raise ThoraxError("--weights: name the endpoint, --endpoint-name NAME")
    before: dict[str, float] = {}
    if not offline:
        session = open_session(settings)
        with one_line_errors(settings):
            found = client(session, "sagemaker").describe_endpoint(EndpointName=endpoint)
        if found["EndpointStatus"] != "InService":
            raise ThoraxError(f"endpoint {endpoint} is {found['EndpointStatus']} and cannot be changed now: wait")
        before = weights_of(found)
        if not before:
            raise ThoraxError(
                f"endpoint {endpoint} has one variant, which gets all requests; `thorax deploy --variant` makes several"
            )
        if unknown := [name for name in given if name not in before]:
            known = list(before)
            raise ThoraxError(f"endpoint {endpoint} has no variant {unknown[0]}{did_you_mean(unknown[0], known)}")
    move = Move(endpoint, before, {**before, **given}, bake_minutes)
    variants.check_weights(move.after)
    check_parameters(_CALL, move.request)
    return move


def make(move: Move, settings: AwsSettings) -> None:
    """Changes the weights and waits; every variant that gets requests is asked about an image.

    Raises:
        ThoraxError: AWS refuses, a variant does not answer, or answers of 5xx came in the minutes after it; the
            weights are as before then.
    """
    session = open_session(settings)
    try:
        with one_line_errors(settings):
            _send(move.endpoint, move.after, session)
            asked = tuple(Variant(name, "", weight) for name, weight in move.after.items() if weight)
            smoke_test(HostingSpec(move.endpoint, "", variants=asked), settings, session)
            _bake(move, session)
    except BaseException as error:  # every way out: AWS's errors, Ctrl-C, SIGTERM
        raise _taken_back(move, error, settings) from error
    print(f"endpoint {move.endpoint}: {variants.in_words(move.after)}", flush=True)


def _bake(move: Move, session: Any) -> None:
    began, names = datetime.now(UTC), [name for name, weight in move.after.items() if weight]
    while (datetime.now(UTC) - began).total_seconds() < move.bake_minutes * 60:
        if found := failures(move.endpoint, names, began, session):
            counts = ", ".join(f"{name} {count}" for name, count in found.items())
            raise ThoraxError(f"endpoint {move.endpoint} has answered with 5xx since the change ({counts})")
        time.sleep(status.POLL)


def _send(endpoint: str, wanted: Mapping[str, float], session: Any) -> None:
    sagemaker = client(session, "sagemaker")
    sagemaker.update_endpoint_weights_and_capacities(**_request(endpoint, wanted))
    now = status.settled(sagemaker, endpoint)
    if now["EndpointStatus"] != "InService":
        raise ThoraxError(f"endpoint {endpoint} is {now['EndpointStatus']} after the change")


def _taken_back(move: Move, error: BaseException, settings: AwsSettings) -> ThoraxError:
    """Puts the weights back; the error to raise."""
    again = ",".join(f"{name}={weight:g}" for name, weight in move.before.items())
    try:
        with one_line_errors(settings):
            _send(move.endpoint, move.before, open_session(settings))
        end = f"endpoint {move.endpoint} divides its requests as before: {variants.in_words(move.before)}"
    except BaseException as failure:
        end = (
            f"putting the weights back failed too ({stopped_by(failure)}); see to it: `thorax deploy --weights {again}"
            f" --endpoint-name {move.endpoint}`"
        )
    if isinstance(error, KeyboardInterrupt | Terminated):
        return StoppedError(end, error)
    return ThoraxError(f"{stopped_by(error)}; {end}")


def _request(endpoint: str, wanted: Mapping[str, float]) -> dict[str, Any]:
    return {
        "EndpointName": endpoint,
        "DesiredWeightsAndCapacities": [
            {"VariantName": name, "DesiredWeight": weight} for name, weight in wanted.items()
        ],
    }
