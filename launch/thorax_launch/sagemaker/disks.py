"""The key of a machine's disk, where AWS takes one."""

from __future__ import annotations

from thorax.errors import ThoraxError
from thorax_launch.settings import AwsSettings


def key(settings: AwsSettings, machine: str) -> str:
    """KMS key of the disk of a training, processing or transform machine; "" where there is none.

    AWS takes no key for a machine with local storage (NVMe disks, which a hardware key encrypts), so `kms_key` is left
    out there.

    Raises:
        ThoraxError: `volume_kms_key` is set, and the machine has local storage.
    """
    if not has_local_storage(machine):
        return settings.volume_kms_key or settings.kms_key
    if settings.volume_kms_key:
        raise ThoraxError(
            f"--volume-kms-key {settings.volume_kms_key} with {machine}: AWS takes no key for a machine with local"
            " storage, which a hardware key encrypts; leave it out (volume_kms_key in thorax.yaml), or choose another"
            " --instance-type"
        )
    return ""


def has_local_storage(machine: str) -> bool:
    """By the SDK's rule, which does not know the newest GPU machines yet.

    What is no machine's name is AWS's model to refuse.
    """
    from sagemaker.core.common_utils import instance_supports_kms

    try:
        return machine.startswith(("ml.g", "ml.p6")) or not instance_supports_kms(machine)
    except ValueError:
        return False
