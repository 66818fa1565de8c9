"""What AWS's machines are and need: GPUs, images, and a key for their disks where AWS takes one."""

from __future__ import annotations

import re

from thorax.errors import ThoraxError
from thorax_launch.settings import AwsSettings

#: Machine types from which AWS takes the first that it has (InstancePools, InstancePreferences), at most.
MOST_KINDS = 5
#: First letters of families on which today's torch images do not run -> why.
_UNSUPPORTED = {
    "trn": "Trainium needs AWS's Neuron build of torch, which thorax does not use",
    "inf": "Inferentia needs AWS's Neuron build of torch, which thorax does not use",
    "dl": "Gaudi needs Habana's build of torch, which thorax does not use",
    "p2": "torch dropped its Kepler GPUs (compute capability 3.7)",
    "p6e": "it has an ARM processor (Grace), for which AWS has no image of this torch",
}


#: GPUs of machines that the SDK's table lacks, by family and size: EC2's instance types, "Accelerated computing".
_OF_G6 = {
    "xlarge": 1,
    "2xlarge": 1,
    "4xlarge": 1,
    "8xlarge": 1,
    "12xlarge": 4,
    "16xlarge": 1,
    "24xlarge": 4,
    "48xlarge": 8,
}
_GPUS = {
    "g6": _OF_G6,
    "g6e": _OF_G6,
    "p5": {"4xlarge": 1, "48xlarge": 8},
    **{name: {"48xlarge": 8} for name in ("p5e", "p5en", "p6-b200", "p6-b300")},
}


def family(instance_type: str) -> str:
    """g5 of ml.g5.xlarge; "" where it is no machine's name."""
    parts = instance_type.split(".")
    return parts[1] if len(parts) == 3 and parts[0] == "ml" else ""


def check_family(instance_type: str, flag: str = "--instance-type") -> None:
    """Refuses machines on which the images' torch does not run.

    Raises:
        ThoraxError: trn, inf, dl, p2 or p3; or an ARM machine, for which AWS has no such image.
    """
    name = family(instance_type)
    reason = next((why for start, why in _UNSUPPORTED.items() if name.startswith(start)), "")
    if not reason and re.fullmatch(r"[cmrt]\d+g[a-z]*", name):
        reason = "it has an ARM processor (Graviton), for which AWS has no image of this torch"
    if reason:
        raise ThoraxError(
            f"{flag} {instance_type}: {reason}; take a GPU machine such as ml.g5.xlarge or ml.g6.xlarge, or a"
            " CPU machine such as ml.m5.xlarge"
        )


def kinds(instance_type: str) -> list[str]:
    """The types that --instance-type TYPE,TYPE names, the one to prefer first.

    Raises:
        ThoraxError: more than five, one twice, or GPU and CPU machines, which need different images.
    """
    found = instance_type.split(",")
    if len(found) > MOST_KINDS or len(set(found)) < len(found) or len({has_gpu(kind) for kind in found}) > 1:
        raise ThoraxError(
            f"--instance-type {instance_type}: name up to {MOST_KINDS} different types, all with a GPU or all without,"
            " because they share one image"
        )
    for kind in found:
        check_family(kind)
    return found


def has_gpu(instance_type: str) -> bool:
    """By its family."""
    return instance_type.startswith(("ml.p", "ml.g"))


def gpu_count(instance_type: str) -> int | None:
    """By the SDK's table and ours; None for a GPU machine that is in neither, which is taken to have several.

    Torchrun also starts one process.
    """
    from sagemaker.core import instance_types_gpu_info

    if not has_gpu(instance_type):
        return 0
    table: dict[str, dict[str, int]] = instance_types_gpu_info.retrieve("us-east-1") or {}
    known = _GPUS.get(family(instance_type), {}).get(instance_type.rpartition(".")[2])
    return table.get(instance_type, {}).get("Count", 1 if instance_type.endswith(".xlarge") else known)


def aws_image(framework: str, version: str, instance_type: str, region: str, scope: str) -> str:
    """URI of AWS's image, for CPU or GPU as the machine has.

    Args:
        framework: the SDK's name of it, such as pytorch.
        scope: training or inference.

    Raises:
        ThoraxError: there is none for that region and machine, or the SDK names one of another version or accelerator.
    """
    from sagemaker.core import image_uris

    check_family(instance_type)
    try:
        found = image_uris.retrieve(framework, region, version=version, instance_type=instance_type, image_scope=scope)
        return _checked(str(found), version, instance_type)
    except ValueError as error:
        raise ThoraxError(
            f"no AWS image for --region {region} and --instance-type {instance_type}: {str(error).splitlines()[0]}"
        ) from None


def _checked(image: str, version: str, instance_type: str) -> str:
    """The URI, which must be of that version and of the machine's accelerator."""
    tag = image.rpartition(":")[2]
    wanted = ("gpu", "cuda") if has_gpu(instance_type) else ("cpu",)
    if not re.search(rf"(^|[-v]){re.escape(version)}", tag) or not any(word in tag for word in wanted):
        raise ThoraxError(
            f"--instance-type {instance_type}: the SageMaker SDK names the image {image}, which is not one of version"
            f" {version} for {'GPUs' if has_gpu(instance_type) else 'CPUs'}; choose another machine, or give an image"
        )
    return image


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
