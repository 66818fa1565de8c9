"""Asks a model about an image: a bundle in this process, a server by its URL, or a SageMaker endpoint by its name."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from thorax.errors import ThoraxError
from thorax.job import environment
from thorax.serving.bundle_place import bundle_place
from thorax.serving.s3_bundle import is_address
from thorax.tracking.progress import busy
from thorax_launch.async_endpoint import AsyncEndpoint
from thorax_launch.responses import Response, error_response

#: Requests about one image, at most, while the server is busy.
TRIES = 5
#: Images asked about at once; a server makes batches of them.
CONCURRENT = 8
#: SageMaker's own limit of a real-time request, in bytes; a container may take less and respond with 413.
PAYLOAD = 25_000_000
#: Asks for labels, probabilities, thresholds, decisions and warnings.
VERBOSE = "application/json;verbose"
#: What an array of numpy begins with, and its content type.
NPY, NPY_TYPE = b"\x93NUMPY", "application/x-npy"


class Client(Protocol):
    """`limit`: bytes of a request, at most."""

    limit: int

    def send(self, body: bytes, content_type: str, accept: str, options: str) -> Response:
        """One request. `options` is a query such as explain=true. Raises ThoraxError where there is no response."""


class BundleClient:
    """The bundle in `folder`, loaded into this process."""

    def __init__(self, folder: Path, tta: int | None = None) -> None:
        """`tta`: as Classifier's."""
        from thorax.serving.classifier import Classifier
        from thorax.serving.settings import ServerSettings

        with busy("loading the bundle"):
            self._classifier, self._settings = Classifier.load(folder, tta=tta), ServerSettings.from_environment()
        self.limit = self._settings.max_request_bytes

    def send(self, body: bytes, content_type: str, accept: str, options: str) -> Response:
        from thorax.serving.pipeline import answer
        from thorax.serving.request import RawRequest, ResponseOptions

        raw = RawRequest(body, content_type, accept, ResponseOptions.of(options))
        reply = answer(self._classifier, raw, self._settings)
        return Response(reply.status, reply.body)


class ServerClient:
    """The app at `url`, or any server with POST /invocations."""

    def __init__(self, url: str, target: str = "") -> None:
        """`target`: name of the bundle to ask, where the server has several."""
        try:
            url, token = _without_token(url)
            parts = urllib.parse.urlsplit(url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # the port is not a number
            valid = False
        if not valid or not url.isprintable() or " " in url:
            raise ThoraxError(f"{url} is no address of a server; write http://HOST:PORT")
        self.url = url.rstrip("/").removesuffix("/invocations")
        self.limit, self._path = PAYLOAD, f"models/{target}/invoke" if target else "invocations"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        about = f"models/{target}" if target else "metadata"
        try:
            asked = urllib.request.Request(f"{self.url}/{about}", headers=self._headers)
            with urllib.request.urlopen(asked, timeout=10) as response:
                told = json.load(response)
                self.limit = int(told.get("metadata", told)["limits"]["max_request_bytes"])
        except (urllib.error.HTTPError, ValueError, KeyError, TypeError):
            pass  # another server, which has no /metadata
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def send(self, body: bytes, content_type: str, accept: str, options: str) -> Response:
        address = f"{self.url}/{self._path}" + (f"?{options}" if options else "")
        headers = {"Content-Type": content_type, "Accept": accept, **self._headers}
        request = urllib.request.Request(address, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Response(response.status, response.read())
        except urllib.error.HTTPError as error:
            wait = error.headers.get("Retry-After", "")
            return Response(error.code, error.read(), float(wait) if wait.isdecimal() else 1.0)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> ThoraxError:
        return ThoraxError(f"{self.url} does not answer ({getattr(error, 'reason', error)}); is the server running?")


def _without_token(url: str) -> tuple[str, str]:
    """A server's address without `?token=TOKEN`, and that token; without one that of the variable THORAX_TOKEN."""
    address, _, token = url.partition("?token=")
    return address, token or environment().get("THORAX_TOKEN", "")


class EndpointClient:
    """A SageMaker endpoint, asked with the credentials and region of a boto3 session, or those that boto3 finds.

    An asynchronous endpoint refuses a request for an answer at once; it is asked by way of S3 from then on.
    """

    limit = PAYLOAD

    def __init__(self, name: str, session: Any = None, target: str = "", variant: str = "") -> None:
        """`target`: name of the bundle to ask, where the endpoint has several; `variant`: the same of variants."""
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self.name, self._session = name, session or boto3
        self._target = {"TargetModel": f"{target}.tar.gz"} if target else {}
        self._target |= {"TargetVariant": variant} if variant else {}
        self._later: AsyncEndpoint | None = None
        self._looks = threading.Lock()  # boto3's sessions make clients for one thread at a time
        try:
            self._client = (session or boto3).client(
                "sagemaker-runtime", config=Config(read_timeout=70, retries={"total_max_attempts": 1})
            )
        except BotoCoreError as error:
            raise ThoraxError(f"endpoint {name}: {error}") from None

    def send(self, body: bytes, content_type: str, accept: str, options: str) -> Response:
        from botocore.exceptions import BotoCoreError, ClientError

        attributes, later = {"CustomAttributes": options} if options else {}, self._later
        try:
            if later:
                return later.send(body, content_type, accept, attributes)
            response = self._client.invoke_endpoint(
                EndpointName=self.name, Body=body, ContentType=content_type, Accept=accept, **attributes, **self._target
            )
            return Response(200, response["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError" and not later and self._is_asynchronous():
                return self.send(body, content_type, accept, options)
            return self._refusal(error.response)
        except BotoCoreError as error:
            raise ThoraxError(f"endpoint {self.name}: {error}") from None

    def _is_asynchronous(self) -> bool:
        """Whether it is asked by way of S3 from now on; of several threads that were refused, one asks AWS."""
        with self._looks:
            if not self._later and (found := AsyncEndpoint.found(self.name, self._session)):
                self._later, self.limit = found, found.limit
            return self._later is not None

    def _refusal(self, response: Any) -> Response:
        """The model's own error, a busy endpoint or a request that is too large, as a server responds; others raise."""
        code, message = response["Error"]["Code"], response["Error"].get("Message", "")
        if code == "ModelError":
            original = str(response.get("OriginalMessage", "")).encode()
            return Response(int(response.get("OriginalStatusCode", 500)), original)
        if code in ("ThrottlingException", "ServiceUnavailable", "ModelNotReadyException"):
            return error_response(503, f"endpoint {self.name} is busy ({code})")
        too_large = re.search("body.*(size|length|large)", message, re.IGNORECASE)
        if too_large or response["ResponseMetadata"].get("HTTPStatusCode") == 413:
            return error_response(413, message)
        raise ThoraxError(f"endpoint {self.name}: {code}: {message}") from None


class S3Client:
    """Sends images over the limit of `client` through S3, where the server may read (THORAX_S3_PREFIXES)."""

    def __init__(self, client: Client, bucket: str) -> None:
        import boto3

        self.client, self.bucket, self.limit = client, bucket, 2**40
        self._s3 = boto3.client("s3")

    def send(self, body: bytes, content_type: str, accept: str, options: str) -> Response:
        from botocore.exceptions import BotoCoreError, ClientError

        if len(body) <= self.client.limit:
            response = self.client.send(body, content_type, accept, options)
            if response.status != 413:
                return response
        key = f"thorax-predict/{hashlib.sha256(body).hexdigest()}"
        by_name = json.dumps({"s3_uri": f"s3://{self.bucket}/{key}"}).encode()
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)
            try:
                return self.client.send(by_name, "application/json", accept, options)
            finally:
                self._s3.delete_object(Bucket=self.bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise ThoraxError(f"bucket {self.bucket}: {error}") from None


def client_for(
    model: str, bucket: str | None = None, target: str = "", variant: str = "", tta: int | None = None
) -> Client:
    """The client of what the user named.

    Args:
        model: a bundle (its folder, archive or s3:// address, its job's folder or name), a URL, or the name of an
            endpoint.
        bucket: for images over the limit.
        target: name of the bundle, where server or endpoint have several.
        variant: name of the variant, where an endpoint has several.
        tta: views of each image, of a bundle; see Classifier.

    Raises:
        ThoraxError: it is none of the three; or there is no response.
    """
    if variant and ("://" in model or bundle_place(model).exists()):
        raise ThoraxError(f"--variant {variant}: endpoints on AWS alone have variants; leave it out")
    if tta is not None and not ((place := bundle_place(model)).exists() or is_address(model)):
        raise ThoraxError(
            f"--tta {tta} is for a bundle: a server is told once for all requests, by THORAX_TTA={tta} (`thorax deploy"
            f" --local BUNDLE --tta {tta}`, on AWS --env THORAX_TTA={tta}); leave it out"
        )
    if "://" in model and not is_address(model):
        client: Client = ServerClient(model, target)
    elif (place := bundle_place(model)).exists():
        if target:
            raise ThoraxError(f"--target {target}: {model} is one bundle; leave it out")
        client = BundleClient(place, tta)
    elif re.fullmatch(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}", model):
        client = EndpointClient(model, target=target, variant=variant)
    else:
        raise ThoraxError(f"{model} is neither a bundle's folder, nor a URL, nor the name of an endpoint")
    return S3Client(client, bucket) if bucket else client


def invoke(
    client: Client, image: bytes, name: str, accept: str, options: str = "", wait: Callable[[float], Any] = time.sleep
) -> Response:
    """The good response about one image. A busy server is asked again, and an image that is too large is sent smaller.

    Args:
        client: of the model.
        image: content of an image file.
        name: what to call it in errors.
        accept: content type of the response.
        options: a query such as explain=true.
        wait: sleeps for so many seconds.

    Raises:
        ThoraxError: the image cannot be read, or the server's own reason.
    """
    body, content_type, limit, tries = image, content_type_of(image), client.limit, 0
    while True:
        if len(body) > limit:
            body, content_type = smaller(image, name, limit), "image/jpeg"
        response = client.send(body, content_type, accept, options)
        if response.status == 413 and len(body) > 4096:
            limit = len(body) // 2
        elif response.status in (429, 503) and (tries := tries + 1) < TRIES:
            wait(min(30.0, response.retry_after * tries))
        elif response.status != 200:
            raise ThoraxError(response.error)
        else:
            return response


def predict_all(client: Client, images: Iterable[str | Path | bytes]) -> list[dict[str, Any]]:
    """The answer about each image: labels, probabilities, thresholds, decisions, predicted, label, warnings.

    Args:
        images: files, or their content.

    Raises:
        ThoraxError: an image cannot be read, or the server refuses it or does not answer.
    """

    def answer(numbered: tuple[int, str | Path | bytes]) -> dict[str, Any]:
        number, image = numbered
        name = f"image {number}" if isinstance(image, bytes) else str(image)
        try:
            content = image if isinstance(image, bytes) else Path(image).read_bytes()
            found: dict[str, Any] = json.loads(invoke(client, content, name, VERBOSE).body)
        except OSError as error:
            raise ThoraxError(f"{name} cannot be read: {error.strerror}") from None
        except ThoraxError as error:
            raise ThoraxError(f"{name}: {error}") from None
        return found

    with ThreadPoolExecutor(CONCURRENT) as pool:
        return list(pool.map(answer, enumerate(images, 1)))


def content_type_of(image: bytes) -> str:
    """An image's content type by its first bytes, as the server's decoders know it."""
    from thorax.data.decoders import format_of
    from thorax.data.decoders.limits import FIRST

    if image.startswith(NPY):
        return NPY_TYPE
    found = format_of(image[:FIRST])
    return "application/octet-stream" if found is None else found.content_type


def smaller(image: bytes, name: str, limit: int) -> bytes:
    """The image as a JPEG of at most `limit` bytes, as large as that allows; of a file that can hold colour in colour.

    Raises:
        ThoraxError: it cannot be read, or no size fits.
    """
    from PIL import Image

    from thorax.data.color import may_hold_color
    from thorax.data.decoders import GRAY, RGB
    from thorax.data.images import decode, header

    color = RGB if may_hold_color(header(image, name).mode) else GRAY
    picture = Image.fromarray(decode(image, name, color=color))
    for side in (3072, 2048, 1536, 1024, 768, 512, 256):
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=92)
        if out.tell() <= limit:
            return out.getvalue()
    raise ThoraxError(f"{name} cannot be made small enough for the server, which takes {limit} bytes")
