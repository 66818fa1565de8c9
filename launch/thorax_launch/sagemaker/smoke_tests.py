"""The smoke test of an endpoint: one image of grey shades, drawn here; it must come back with probabilities."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from thorax.errors import ThoraxError
from thorax.tracking.waiting import Waiting
from thorax_launch.sagemaker.account import client
from thorax_launch.sagemaker.errors import one_line
from thorax_launch.sagemaker.hosting import HostingSpec
from thorax_launch.sagemaker.package import bucket_and_key
from thorax_launch.settings import AwsSettings

#: Seconds between looks for an asynchronous answer, and how many looks.
POLL, LOOKS = 5.0, 180


def smoke_test(spec: HostingSpec, settings: AwsSettings, session: Any) -> None:
    """Asks the endpoint about an image; each of several bundles or variants about one.

    Raises:
        ThoraxError: the answer is no list of probabilities, or the model's own error.
        botocore's errors: AWS refuses.
    """
    for target in spec.targets or tuple(one.name for one in spec.variants) or ("",):
        _ask(spec, target, settings, session)


def _ask(spec: HostingSpec, target: str, settings: AwsSettings, session: Any) -> None:
    """One question to an endpoint; `target`: the bundle's or the variant's name, where it has several."""
    from botocore.exceptions import ClientError

    name = spec.endpoint_name
    try:
        named = {"TargetVariant": target} if spec.variants else {"TargetModel": f"{target}.tar.gz"} if target else {}
        answer = _later(name, settings, session) if spec.kind == "async" else _now(name, session, named)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ModelError":
            raise
        message = one_line(error.response.get("OriginalMessage", ""))[:500]
        raise ThoraxError(
            f"endpoint {name} is up, but {_what(spec, target)} fails: {message}; its log:"
            f" CloudWatch /aws/sagemaker/Endpoints/{name}"
        ) from None
    try:
        found: Any = json.loads(answer)
        numbers = [float(number) for number in (found["prediction"] if isinstance(found, dict) else found)]
        good = bool(numbers) and all(0 <= number <= 1 for number in numbers)
    except (ValueError, TypeError, KeyError):
        good = False
    if not good:
        raise ThoraxError(f"endpoint {name} answers an image with {answer[:200]!r}, which are no probabilities")
    print(f"smoke test{f' of {target}' if target else ''}: {answer.decode().strip()[:200]}", flush=True)


def _what(spec: HostingSpec, target: str) -> str:
    return f"{'variant' if spec.variants else 'bundle'} {target}" if target else "the model"


def image() -> bytes:
    """A PNG of 64x64 grey shades."""
    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(out, "PNG")
    return out.getvalue()


def _now(name: str, session: Any, named: Mapping[str, str]) -> bytes:
    from botocore.exceptions import ClientError

    runtime = client(session, "sagemaker-runtime")
    with Waiting(f"endpoint {name}: first answer") as waiting:
        for look in range(LOOKS):
            try:
                answer = runtime.invoke_endpoint(
                    EndpointName=name, Body=image(), ContentType="image/png", Accept="application/json", **named
                )
                return bytes(answer["Body"].read())
            except ClientError as error:  # it is brought into the container when it is first asked
                if error.response["Error"]["Code"] != "ModelNotReadyException" or look == LOOKS - 1:
                    raise
            waiting.pause(POLL)
    raise AssertionError("the last look raises")


def _later(name: str, settings: AwsSettings, session: Any) -> bytes:
    """By way of S3, as an asynchronous endpoint is asked."""
    s3, place = client(session, "s3"), f"{settings.root}/{name}/smoke/image.png"
    bucket, key = bucket_and_key(place)
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key} if settings.kms_key else {}
    s3.put_object(Bucket=bucket, Key=key, Body=image(), **encryption)
    asked = client(session, "sagemaker-runtime").invoke_endpoint_async(
        EndpointName=name, InputLocation=place, ContentType="image/png", Accept="application/json"
    )
    with Waiting(f"endpoint {name}: first answer") as waiting:
        for _ in range(LOOKS):
            for where in (asked["OutputLocation"], asked.get("FailureLocation")):
                if where and (answer := read_object(s3, where)) is not None:
                    if where != asked["OutputLocation"]:
                        message = one_line(answer.decode(errors="replace"))[:500]
                        raise ThoraxError(f"endpoint {name} is up, but the model fails: {message}")
                    return answer
            waiting.pause(POLL)
    raise ThoraxError(f"endpoint {name} has not answered an image within {POLL * LOOKS / 60:.0f} min")


def read_object(s3: Any, address: str) -> bytes | None:
    """The content of an object; None where there is none."""
    from botocore.exceptions import ClientError

    bucket, key = bucket_and_key(address)
    try:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
