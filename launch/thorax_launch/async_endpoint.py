"""An asynchronous SageMaker endpoint: the image and its answer go by way of S3."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.responses import Response, error_response

#: Seconds between looks for an answer: the first, and the longest.
FIRST_LOOK, LAST_LOOK = 0.5, 10.0
#: Seconds until an answer is given up: an endpoint at 0 machines takes minutes to start one.
PATIENCE = 3600.0
#: AWS's limit of a request, in bytes.
PAYLOAD = 1_000_000_000


@dataclass(frozen=True)
class AsyncEndpoint:
    """One endpoint.

    Attributes:
        name: its name.
        folder: s3:// address that it writes below.
        kms_key: encrypts what it writes, and the images; empty: the bucket's own.
        runtime, s3: boto3's clients.
    """

    name: str
    folder: str
    kms_key: str
    runtime: Any
    s3: Any
    limit: int = PAYLOAD

    @classmethod
    def found(cls, name: str, session: Any) -> AsyncEndpoint | None:
        """The endpoint of that name; None where it is not asynchronous, or may not be looked at."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            described = session.client("sagemaker").describe_endpoint(EndpointName=name)
            config = described.get("AsyncInferenceConfig")
            if not config:  # older descriptions have it in the configuration alone
                found = session.client("sagemaker").describe_endpoint_config(
                    EndpointConfigName=described["EndpointConfigName"]
                )
                config = found.get("AsyncInferenceConfig")
        except (BotoCoreError, ClientError):  # the question stays the one that was refused
            return None
        if not config:
            return None
        output = config["OutputConfig"]
        folder = output["S3OutputPath"].rstrip("/").rpartition("/")[0]
        return cls(name, folder, output.get("KmsKeyId", ""), session.client("sagemaker-runtime"), session.client("s3"))

    def send(self, body: bytes, content_type: str, accept: str, attributes: Mapping[str, str]) -> Response:
        """Uploads an image, asks, waits for the answer and takes the image away again.

        Raises:
            ThoraxError: there is no answer within PATIENCE.
            botocore's errors: AWS refuses.
        """
        place = f"{self.folder}/async-input/{uuid.uuid4().hex}"
        bucket, _, key = place.removeprefix("s3://").partition("/")
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key} if self.kms_key else {}
        self.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, **encryption)
        try:
            asked = self.runtime.invoke_endpoint_async(
                EndpointName=self.name, InputLocation=place, ContentType=content_type, Accept=accept, **attributes
            )
            return self._answer(asked)
        finally:
            self.s3.delete_object(Bucket=bucket, Key=key)

    def _answer(self, asked: Mapping[str, Any]) -> Response:
        pause, end = FIRST_LOOK, time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if (answer := self._read(asked["OutputLocation"])) is not None:
                return Response(200, answer)
            if (reason := self._read(asked.get("FailureLocation", ""))) is not None:
                return error_response(424, " ".join(reason.decode(errors="replace").split())[:500])
            time.sleep(pause)
            pause = min(LAST_LOOK, pause * 1.5)
        raise ThoraxError(
            f"endpoint {self.name} has not answered within {PATIENCE / 60:.0f} min; the answer comes to"
            f" {asked['OutputLocation']}"
        )

    def _read(self, address: str) -> bytes | None:
        from botocore.exceptions import ClientError

        if not address:
            return None
        bucket, _, key = address.removeprefix("s3://").partition("/")
        try:
            return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise
