"""What AWS's machines are and need: GPUs, images, and a key for their disks where AWS takes one."""

from __future__ import annotations

from thorax.errors import ThoraxError
from thorax_launch.settings import AwsSettings


def has_gpu(instance_type: str) -> bool:
    """By its family."""
    return instance_type.startswith(("ml.p", "ml.g"))


def gpu_count(instance_type: str) -> int | None:
    """By the SDK's table; None for a GPU machine that is not in it, which is taken to have several.

    Torchrun also starts one process.
    """
    from sagemaker.core import instance_types_gpu_info

    if not has_gpu(instance_type):
        return 0
    table: dict[str, dict[str, int]] = instance_types_gpu_info.retrieve("us-east-1") or {}
    return table.get(instance_type, {}).get("Count", 1 if instance_type.endswith(".xlarge") else None)


def aws_image(framework: str, version: str, instance_type: str, region: str, scope: str) -> str:
    """URI of AWS's image, for CPU or GPU as the machine has.

    Args:
        framework: the SDK's name of it, such as pytorch.
        scope: training or inference.

    Raises:
        ThoraxError: there is none for that region and machine.
    """
    from sagemaker.core import image_uris

    try:
        return str(
            image_uris.retrieve(framework, region, version=version, instance_type=instance_type, image_scope=scope)
        )
    except ValueError as error:
        raise ThoraxError(
            f"no AWS image for --region {region} and --instance-type {instance_type}: {str(error).splitlines()[0]}"
        ) from None


def disk_key(settings: AwsSettings, instance_type: str) -> str:
    """KMS key of the disk of a training, processing or transform machine; "" where there is none.

    AWS takes no key for a machine with local storage (NVMe disks, which a hardware key encrypts), so `kms_key` is left
    out there.

    Raises:
        ThoraxError: `volume_kms_key` is set, and the machine has local storage.
    """
    if not _has_local_storage(instance_type):
        return settings.volume_kms_key or settings.kms_key
    if settings.volume_kms_key:
        raise ThoraxError(
            f"--volume-kms-key {settings.volume_kms_key} with {instance_type}: AWS takes no key for a machine with"
            " local storage, which a hardware key encrypts; leave it out (volume_kms_key in thorax.yaml), or choose"
            " another --instance-type"
        )
    return ""


def _has_local_storage(instance_type: str) -> bool:
    """By the SDK's rule, which does not cover the newest GPU machines; False for what is no machine's name."""
    from sagemaker.core.common_utils import instance_supports_kms

    try:
        return instance_type.startswith(("ml.g", "ml.p6")) or not instance_supports_kms(instance_type)
    except ValueError:
        return False
