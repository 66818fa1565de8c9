"""AWS in this process: moto answers, every call is written down, and no socket leaves the machine."""

from __future__ import annotations

import functools
import importlib
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import pytest

from aws_calls import BUCKET, REGION, assert_allowed
from thorax_launch.sagemaker import package, requests

pytest.importorskip("moto", reason="needs moto: pip install -e '.[dev]'")


@dataclass
class Aws:
    """What was sent to AWS, and what AWS shall answer.

    Attributes:
        calls: (service, operation, parameters) in order.
        answers: operation -> what AWS returns in moto's place, from the parameters.
        own: of the calls, those of the scripts, where a test makes calls too.
        faults: operation -> (status, code, message) or an exception, one for each try; the last one stays.
        tags: ARN -> tags of what was there before.
    """

    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    faults: dict[str, list[Any]] = field(default_factory=dict)
    own: list[tuple[str, str, dict[str, Any]]] | None = None
    tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """The parameters of every call of that operation."""
        return [parameters for _, name, parameters in self.calls if name == operation]

    @property
    def operations(self) -> set[str]:
        return {operation for _, operation, _ in self.calls}

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(service, region_name=REGION)

    # -- botocore's hooks --

    def write_down(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        shown = {key: value for key, value in params.items() if key != "Body"}
        self.calls.append((model.service_model.service_name, model.name, shown))

    def answer(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        if model.name not in self.answers:
            return None
        body = params.get("body")
        return _Http(200), self.answers[model.name](
            json.loads(body) if isinstance(body, bytes) and body[:1] == b"{" else {}
        )

    def fail(self, request: Any, event_name: str, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        service, operation = event_name.split(".")[1:]
        if not (waiting := self.faults.get(operation)):
            return None
        fault = waiting[0] if len(waiting) == 1 else waiting.pop(0)
        if fault is None:
            return None
        if isinstance(fault, Exception):
            raise fault
        status, code, words = fault
        request.url = "https://refused.invalid/"  # else moto, which botocore calls too, does what is refused here
        if service in ("iam", "sts"):
            words = f"<ErrorResponse><Error><Code>{code}</Code><Message>{words}</Message></Error></ErrorResponse>"
            return AWSResponse(request.url, status, {}, _Raw(words.encode()))
        message = (
            f"<Error><Code>{code}</Code><Message>{words}</Message></Error>"
            if service == "s3"
            else json.dumps({"__type": code, "message": words})
        )
        return AWSResponse(request.url, status, {"x-amzn-errortype": code}, _Raw(message.encode()))


@dataclass
class _Http:
    status_code: int


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


def without_empty(parsed: Any, **_: Any) -> None:
    """moto answers with empty mappings where AWS leaves a field out; the SDK's models refuse them."""
    if isinstance(parsed, dict):
        for key in [key for key, value in parsed.items() if value == {}]:
            del parsed[key]
        for value in parsed.values():
            without_empty(value)


#: botocore's models, read once: they are megabytes, and every session of its own finds and reads them again.
_loader = functools.cache(botocore.session.create_loader)


_commit = functools.cache(requests.commit)  # git is asked once


@functools.lru_cache(8)
def _packed(files: tuple[tuple[str, bytes], ...], level: int) -> bytes:
    """The same files are packed once, however many commands upload them."""
    return _PACKED(dict(files), level)


_PACKED = package.packed


def _reuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every command works out anew, and is the same in all tests, is kept: models of AWS, the code's archive."""
    monkeypatch.setattr(botocore.session, "create_loader", _loader)
    for module in ("package", "pipelines", "preparation", "bundles"):
        name = f"thorax_launch.sagemaker.{module}.packed"
        monkeypatch.setattr(name, lambda files, level=9: _packed(tuple(sorted(files.items())), level))
    for name in ("promotion", "preparation", "bundles", "training_jobs"):
        module = importlib.import_module(f"thorax_launch.sagemaker.{name}")
        if module.commit is requests.commit:  # else a test has its own
            monkeypatch.setattr(module, "commit", _commit)


@contextmanager
def an_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bucket: str = BUCKET) -> Iterator[Aws]:
    """An account with a bucket and a role, in the region of the environment; the working folder is empty."""
    import botocore.handlers
    from moto import mock_aws
    from sagemaker.core.utils.utils import SageMakerClient

    alone(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    account = Aws()
    hooks = [
        ("before-send", account.fail),
        ("provide-client-params", account.write_down),
        ("before-call", account.answer),
        ("after-call.sagemaker", without_empty),
    ]
    SageMakerClient.reset()
    with mock_aws():
        monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [*hooks, *botocore.handlers.BUILTIN_HANDLERS])
        account.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        account.client("iam").create_role(RoleName="thorax-execution", AssumeRolePolicyDocument="{}")
        account.calls.clear()
        yield account
    SageMakerClient.reset()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Aws]:
    """The account; every call was one that the launcher's policy grants."""
    with an_account(monkeypatch, tmp_path) as account:
        yield account
    assert_allowed(account.calls if account.own is None else account.own, account.tags)


def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings, credentials or network of the machine that the tests run on."""
    for name in (
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    sdk = tmp_path / "sdk.yaml"
    sdk.write_text("")
    monkeypatch.setenv("SAGEMAKER_USER_CONFIG_OVERRIDE", str(sdk))
    monkeypatch.setenv("SAGEMAKER_ADMIN_CONFIG_OVERRIDE", str(sdk))
    _reuse(monkeypatch)
    here = tmp_path / "here"
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    connect = socket.socket.connect

    def loopback_only(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1")):
            raise AssertionError(f"a connection to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ and test/ of a few files; their names are read, nobody looks into them."""
    root = tmp_path_factory.mktemp("few")
    more = [f"train/{kind}/{kind[0].lower()}{k}.png" for kind in ("NORMAL", "PNEUMONIA") for k in range(7)]
    for name in ("train/NORMAL/a.png", "train/PNEUMONIA/b.png", "test/NORMAL/c.png", "test/PNEUMONIA/d.png", *more):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that can be served."""
    import images
    from hosting import tiny_bundle

    return tiny_bundle(tmp_path_factory.mktemp("whole") / "model", images.BINARY)


@pytest.fixture(scope="session")
def light(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a few bytes for weights: quick to pack, and nobody serves it."""
    from thorax.serving import bundle_verify

    folder = tmp_path_factory.mktemp("light") / "model"
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    (folder / "model.safetensors").write_bytes(b"weights")
    bundle_verify.seal(folder)
    return folder


@pytest.fixture(scope="session")
def archive(light: Path) -> bytes:
    """The same as a model.tar.gz."""
    from thorax_launch.sagemaker.package import packed, source_files

    return packed(source_files(light), level=1)


@pytest.fixture
def stored(aws: Aws, archive: bytes) -> None:
    """That archive lies in S3, where training jobs of these names leave it."""
    for name in ("one", "two", "children", "sweep-001", "job"):
        aws.client("s3").put_object(Bucket=BUCKET, Key=f"thorax/{name}/output/model.tar.gz", Body=archive)
    aws.calls.clear()


@pytest.fixture
def bench(
    aws: Any, stored: None, light: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """An account of things with states; BUNDLE, DATA and OUT in a command line are folders."""
    from aws_scenes import benches

    yield from benches(aws, {"BUNDLE": str(light), "DATA": str(few), "OUT": str(tmp_path)}, monkeypatch)


@pytest.fixture
def written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Aws]:
    """An account that a server on this machine stands for; calls of clients that are made from now on are written down,
    and were those that the launcher's policy grants."""
    import botocore.handlers

    alone(monkeypatch, tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    account = Aws()
    hooks = [("provide-client-params", account.write_down), *botocore.handlers.BUILTIN_HANDLERS]
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", hooks)
    yield account
    assert_allowed(account.calls)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No account at all: every call to AWS is an error. The empty working folder."""
    import botocore.endpoint

    alone(monkeypatch, tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("AWS was asked")

    monkeypatch.setattr(botocore.endpoint.Endpoint, "make_request", refuse)
    return tmp_path / "here"
