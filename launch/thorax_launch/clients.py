"""Who answers about an image: a bundle in this process, a server by its URL, or a SageMaker endpoint by its name."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from thorax.errors import ThoraxError

#: Times that a busy server is asked.
TRIES = 5
#: SageMaker's own limit of a real-time request; a container may take less and say 413.
PAYLOAD = 25_000_000
KINDS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\x93NUMPY", "application/x-npy"),
)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, wherever it came from."""

    status: int
    body: bytes
    retry_after: float = 1.0

    @property
    def problem(self) -> str:
        """Its one line, where it is an error."""
        try:
            return str(json.loads(self.body)["error"])
        except (ValueError, KeyError, TypeError):
            return f"the server answered {self.status}"


class Asker(Protocol):
    """`limit`: bytes of a request, at most."""

    limit: int

    def send(self, body: bytes, kind: str, accept: str, options: str) -> Answer:
        """Asks once. `options` is a query such as explain=true. Raises ThoraxError where nobody answers."""


class InProcess:
    """The bundle in `folder`, loaded here."""

    def __init__(self, folder: Path) -> None:
        from thorax.serving.classifier import Classifier
        from thorax.serving.settings import ServerSettings

        self._classifier, self._settings = Classifier.load(folder), ServerSettings.from_environment()
        self.limit = self._settings.max_request_bytes

    def send(self, body: bytes, kind: str, accept: str, options: str) -> Answer:
        from thorax.serving.pipeline import answer
        from thorax.serving.request import RawRequest, ResponseOptions

        raw = RawRequest(body, kind, accept, ResponseOptions.of(options))
        reply = answer(self._classifier, raw, self._settings)
        return Answer(reply.status, reply.body)


class Server:
    """An app of ours at `url`, or anything that answers POST /invocations."""

    def __init__(self, url: str) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            known = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            )  # ValueError: the port is no number
        except ValueError:
            known = False
        if not known or not url.isprintable() or " " in url:
            raise ThoraxError(f"{url} is no address of a server; write http://HOST:PORT")
        self.url = url.rstrip("/").removesuffix("/invocations")
        self.limit = PAYLOAD
        try:
            with urllib.request.urlopen(f"{self.url}/metadata", timeout=10) as got:
                self.limit = int(json.load(got)["limits"]["max_request_bytes"])
        except urllib.error.HTTPError:
            pass
        except (ValueError, KeyError, TypeError):
            pass
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from None

    def send(self, body: bytes, kind: str, accept: str, options: str) -> Answer:
        address = f"{self.url}/invocations" + (f"?{options}" if options else "")
        request = urllib.request.Request(address, body, {"Content-Type": kind, "Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=120) as got:
                return Answer(got.status, got.read())
        except urllib.error.HTTPError as error:
            wait = error.headers.get("Retry-After", "")
            return Answer(error.code, error.read(), float(wait) if wait.isdecimal() else 1.0)
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from None

    def _silent(self, error: Exception) -> ThoraxError:
        return ThoraxError(f"{self.url} does not answer ({getattr(error, 'reason', error)}); is the server running?")


class Endpoint:
    """A SageMaker endpoint, asked with the credentials and region of a boto3 session, or those that boto3 finds."""

    limit = PAYLOAD

    def __init__(self, name: str, session: Any = None) -> None:
        session = session or _boto3()
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self.name = name
        try:
            self._client = session.client(
                "sagemaker-runtime", config=Config(read_timeout=70, retries={"total_max_attempts": 1})
            )
        except BotoCoreError as error:
            raise ThoraxError(f"endpoint {name}: {error}") from None

    def send(self, body: bytes, kind: str, accept: str, options: str) -> Answer:
        from botocore.exceptions import BotoCoreError, ClientError

        more = {"CustomAttributes": options} if options else {}
        try:
            got = self._client.invoke_endpoint(
                EndpointName=self.name, Body=body, ContentType=kind, Accept=accept, **more
            )
            return Answer(200, got["Body"].read())
        except ClientError as error:
            code, said = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
            if code == "ModelError":
                return Answer(
                    int(error.response.get("OriginalStatusCode", 500)),
                    str(error.response.get("OriginalMessage", "")).encode(),
                )
            if code in ("ThrottlingException", "ServiceUnavailable", "ModelNotReadyException"):
                return Answer(503, json.dumps({"error": f"endpoint {self.name} is busy ({code})"}).encode())
            if error.response["ResponseMetadata"].get("HTTPStatusCode") == 413 or re.search(
                "body.*(size|length|large)", said, re.IGNORECASE
            ):
                return Answer(413, json.dumps({"error": said}).encode())
            raise ThoraxError(f"endpoint {self.name}: {code}: {said}") from None
        except BotoCoreError as error:
            raise ThoraxError(f"endpoint {self.name}: {error}") from None


def asker(model: str, bucket: str | None = None) -> Asker:
    """Who answers for what the user named.

    Raises:
        ThoraxError: it is neither a bundle, nor a URL, nor the name of an endpoint; or nobody answers there.
    """
    if "://" in model:
        found: Asker = Server(model)
    elif Path(model).is_dir():
        found = InProcess(Path(model))
    elif re.fullmatch(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}", model):
        found = Endpoint(model)
    else:
        raise ThoraxError(f"{model} is neither a bundle's folder, nor a URL, nor the name of an endpoint")
    return ByS3(found, bucket) if bucket else found


class ByS3:
    """Images over the limit go by way of S3; the server must be allowed to read there (THORAX_S3_PREFIXES)."""

    def __init__(self, asker: Asker, bucket: str) -> None:
        self.asker, self.bucket, self.limit = asker, bucket, 2**40
        self._s3 = _boto3().client("s3")

    def send(self, body: bytes, kind: str, accept: str, options: str) -> Answer:
        if len(body) <= self.asker.limit:
            answer = self.asker.send(body, kind, accept, options)
            if answer.status != 413:
                return answer
        from botocore.exceptions import BotoCoreError, ClientError

        key = f"thorax-predict/{hashlib.sha256(body).hexdigest()}"
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=kind)
            try:
                return self.asker.send(
                    json.dumps({"s3_uri": f"s3://{self.bucket}/{key}"}).encode(), "application/json", accept, options
                )
            finally:
                self._s3.delete_object(Bucket=self.bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise ThoraxError(f"bucket {self.bucket}: {error}") from None


def ask(
    asker: Asker, image: bytes, name: str, accept: str, options: str = "", wait: Callable[[float], Any] = time.sleep
) -> Answer:
    """The good answer about one image: a busy server is asked again, and an image that is too large is sent smaller.

    Raises:
        ThoraxError: the image cannot be read, or the server's own reason.
    """
    body, kind, limit, tries = image, kind_of(image), asker.limit, 0
    while True:
        if len(body) > limit:
            body, kind = smaller(image, name, limit), "image/jpeg"
        answer = asker.send(body, kind, accept, options)
        if answer.status == 413 and len(body) > 4096:
            limit = len(body) // 2
        elif answer.status in (429, 503) and (tries := tries + 1) < TRIES:
            wait(min(30.0, answer.retry_after * tries))
        elif answer.status != 200:
            raise ThoraxError(answer.problem)
        else:
            return answer


def kind_of(image: bytes) -> str:
    """An image's content type by its first bytes."""
    if image[128:132] == b"DICM":
        return "application/dicom"
    return next((kind for start, kind in KINDS if image.startswith(start)), "application/octet-stream")


def smaller(image: bytes, name: str, limit: int) -> bytes:
    """The image as a grey JPEG of at most `limit` bytes, as large as that allows.

    Raises:
        ThoraxError: it cannot be read, or no size fits.
    """
    from PIL import Image

    from thorax.data.images import decode

    grey = Image.fromarray(decode(image, name))
    for side in (3072, 2048, 1536, 1024, 768, 512, 256):
        grey.thumbnail((side, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        grey.save(out, "JPEG", quality=92)
        if out.tell() <= limit:
            return out.getvalue()
    raise ThoraxError(f"{name} cannot be made small enough for the server, which takes {limit} bytes")


def _boto3() -> Any:
    try:
        import boto3

        return boto3
    except ModuleNotFoundError:
        raise ThoraxError("endpoints and buckets need boto3: pip install -e '.[aws]'") from None
