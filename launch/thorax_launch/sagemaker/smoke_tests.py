"""The smoke test of an endpoint: one image of grey shades, drawn here; it must come back with probabilities."""

from __future__ import annotations

import io
import json
import time
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.account import client
from thorax_launch.sagemaker.endpoints import Host
from thorax_launch.settings import AwsSettings

#: Seconds between looks for an asynchronous answer, and how many looks.
POLL, LOOKS = 5.0, 180


def smoke_test(host: Host, settings: AwsSettings, session: Any) -> None:
    """Asks the endpoint about an image.

    Raises:
        ThoraxError: the answer is no list of probabilities, or the model's own error.
        botocore's errors: AWS refuses.
    """
    from botocore.exceptions import ClientError

    name = host.answers_as
    try:
        answer = _later(name, settings, session) if host.kind == "async" else _now(name, session)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ModelError":
            raise
        told = " ".join(str(error.response.get("OriginalMessage", "")).split())
        raise ThoraxError(
            f"endpoint {name} is up, but the model fails: {told[:500]}; its log: CloudWatch"
            f" /aws/sagemaker/Endpoints/{name}"
        ) from None
    try:
        found: Any = json.loads(answer)
        numbers = [float(one) for one in (found["prediction"] if isinstance(found, dict) else found)]
        good = bool(numbers) and all(0 <= one <= 1 for one in numbers)
    except (ValueError, TypeError, KeyError):
        good = False
    if not good:
        raise ThoraxError(f"endpoint {name} answers an image with {answer[:200]!r}, which are no probabilities")
    print(f"smoke test: {answer.decode().strip()[:200]}", flush=True)


def image() -> bytes:
    """A PNG of 64x64 grey shades."""
    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(out, "PNG")
    return out.getvalue()


def _now(name: str, session: Any) -> bytes:
    got = client(session, "sagemaker-runtime").invoke_endpoint(
        EndpointName=name, Body=image(), ContentType="image/png", Accept="application/json"
    )
    return bytes(got["Body"].read())


def _later(name: str, settings: AwsSettings, session: Any) -> bytes:
    """By way of S3, as an asynchronous endpoint is asked."""
    s3, place = client(session, "s3"), f"{settings.root}/{name}/smoke/image.png"
    bucket, _, key = place.removeprefix("s3://").partition("/")
    s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=image(),
        **({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key} if settings.kms_key else {}),
    )
    got = client(session, "sagemaker-runtime").invoke_endpoint_async(
        EndpointName=name, InputLocation=place, ContentType="image/png", Accept="application/json"
    )
    for _ in range(LOOKS):
        for where in (got["OutputLocation"], got.get("FailureLocation")):
            if where and (answer := _read(s3, where)) is not None:
                if where != got["OutputLocation"]:
                    raise ThoraxError(
                        f"endpoint {name} is up, but the model fails:"
                        f" {' '.join(answer.decode(errors='replace').split())[:500]}"
                    )
                return answer
        time.sleep(POLL)
    raise ThoraxError(f"endpoint {name} has not answered an image within {POLL * LOOKS / 60:.0f} min")


def _read(s3: Any, address: str) -> bytes | None:
    from botocore.exceptions import ClientError

    bucket, _, key = address.removeprefix("s3://").partition("/")
    try:
        return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
