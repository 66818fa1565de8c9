"""Multi-model endpoints: several bundles behind one endpoint, each asked by its name (TargetModel).

SageMaker brings a bundle into the container when it is first asked for, and takes others out when memory is short
(docs.aws.amazon.com: multi-model endpoints, container contract). AWS's Ray image does not know that contract: its
adapter passes /ping and /invocations on and nothing else. AWS's TorchServe image does, on CPU machines, and an image of
your own with thorax.serving.multi_app.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thorax.errors import ThoraxError
from thorax_launch.names import bundle_names
from thorax_launch.options import EndpointOptions
from thorax_launch.sagemaker.account import client
from thorax_launch.sagemaker.bundles import S3Bundle, in_s3
from thorax_launch.sagemaker.machines import has_gpu, kinds
from thorax_launch.sagemaker.package import Upload, bucket_and_key
from thorax_launch.settings import AwsSettings

#: Follows a bundle's name in its address.
ENDING = ".tar.gz"


@dataclass(frozen=True)
class Copy:
    """A bundle that is in S3 already, on its way to the others. Both are s3:// addresses."""

    source: str
    target: str


@dataclass(frozen=True)
class Bundles:
    """Several bundles, at one address.

    Attributes:
        names: what each is asked by.
        prefix: s3:// address of the folder that they lie in.
        uploads: those of this machine.
        copies: those in S3.
        hashes: a line about each one's hash.
    """

    names: tuple[str, ...]
    prefix: str
    uploads: tuple[Upload, ...]
    copies: tuple[Copy, ...]
    hashes: tuple[str, ...]

    @property
    def bundle(self) -> S3Bundle:
        """All of them as one: its address is the folder's."""
        return S3Bundle(self.prefix, self.uploads, self.prefix, "")

    @property
    def digest(self) -> str:
        return self.prefix.split("/")[-2]


def bundles(texts: Sequence[str], settings: AwsSettings, offline: bool = False) -> Bundles:
    """The bundles that are named, by NAME=BUNDLE or by the job that made them; `offline`: see in_s3.

    Raises:
        ThoraxError: one is no bundle, or two have one name.
    """
    found = {name: in_s3(where, settings, offline) for name, where in bundle_names(texts).items()}
    digest = hashlib.sha256("".join(f"{name}={one.digest}\n" for name, one in sorted(found.items())).encode())
    prefix = f"{settings.root}/bundles/multi-{digest.hexdigest()[:16]}/"
    uploads, copies = [], []
    for name, one in found.items():
        target = f"{prefix}{name}{ENDING}"
        if one.uploads:
            uploads += [Upload(target, upload.content, once=prefix) for upload in one.uploads]
        else:
            copies.append(Copy(one.uri, target))
    return Bundles(
        tuple(found), prefix, tuple(uploads), tuple(copies), tuple(one.hash_line() for one in found.values())
    )


def check(options: EndpointOptions, kind: str, server: str, own_image: bool) -> None:
    """Refuses what AWS or the image cannot do with several bundles.

    Args:
        options: of the endpoint.
        kind: realtime, serverless or async.
        server: ray or torchserve.
        own_image: whether the image is the user's.

    Raises:
        ThoraxError: the first such thing, with what works instead.
    """
    if not options.endpoint_name:
        raise ThoraxError("--endpoint-name is missing: several bundles have no common name")
    if kind != "realtime":
        raise ThoraxError(f"--{kind} with several bundles: AWS has multi-model endpoints in real time alone")
    for name in ("capture", "register"):
        if getattr(options, name):
            raise ThoraxError(f"--{name} is for an endpoint of one bundle; leave it out")
    if server == "ray" and not own_image:
        raise ThoraxError(
            "several bundles with --image ray: AWS's Ray image has no /models, by which SageMaker loads bundles; take"
            " --image torchserve, or the URI of your own image with thorax.serving.multi_app (docs/hosting.md)"
        )
    if any(map(has_gpu, kinds(options.instance_type or "ml.m5.large"))):
        raise ThoraxError(
            f"--instance-type {options.instance_type} with several bundles: on GPU machines AWS has multi-model"
            " endpoints for NVIDIA's Triton alone; take a CPU machine, or an endpoint for each bundle"
        )


def copy_all(copies: Sequence[Copy], session: Any, settings: AwsSettings) -> None:
    """Copies bundles within S3.

    Raises:
        ThoraxError: one is not there.
        botocore's errors: AWS refuses.
    """
    from botocore.exceptions import ClientError

    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key} if settings.kms_key else {}
    for one in copies:
        (source_bucket, source_key), (bucket, key) = bucket_and_key(one.source), bucket_and_key(one.target)
        source = {"Bucket": source_bucket, "Key": source_key}
        try:
            client(session, "s3").copy_object(Bucket=bucket, Key=key, CopySource=source, **encryption)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                raise
            raise ThoraxError(f"there is no bundle at {one.source}") from None
