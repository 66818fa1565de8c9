"""Machine images (AMIs) of GPU machines that serve: which one has a driver for the CUDA of a container's image.

Sources: the drivers are those that AWS's model of its API names (botocore, ProductionVariant.InferenceAmiVersion and
TransformResources.TransformAmiVersion); what a driver takes is NVIDIA's table of CUDA compatibility (CUDA 12 needs 525
or newer, CUDA 13 needs 580 or newer). Without a choice AWS takes driver 470, which is too old for both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from thorax.errors import ThoraxError
from thorax_launch.sagemaker.machines import family, has_gpu

_INFERENCE = frozenset(["g4dn", "g5", "g6", "g6e", "p4d", "p4de", "p5", "p5e", "p5en"])
_BATCH = frozenset(["g4dn", "g5", "g6", "g6e"])


@dataclass(frozen=True)
class MachineImage:
    """An AMI: its driver, and the families of machines that it is for."""

    name: str
    driver: int
    families: frozenset[str]


#: Kind of job -> its AMIs, the one to prefer first.
MACHINE_IMAGES = {
    "endpoint": (
        MachineImage("al2-ami-sagemaker-inference-gpu-3-1", 550, _INFERENCE),
        MachineImage("al2023-ami-sagemaker-inference-gpu-4-1", 580, _INFERENCE),
    ),
    "batch transform": (MachineImage("al2-ami-sagemaker-batch-gpu-535", 535, _BATCH),),
}
#: Major version of CUDA -> the oldest driver.
_OLDEST = {11: 450, 12: 525, 13: 580}
#: CUDA of AWS's Ray Serve 1.4 and TorchServe images: 12.9 and 12.4.
_DEFAULT_CUDA = 12


def machine_image(job: str, instance_type: str, image: str, wanted: str = "") -> str:
    """The AMI of a job's machines; "" without a GPU.

    Args:
        job: endpoint or batch transform.
        instance_type: of the machines.
        image: URI of the container's image; a tag such as cu130 or cuda13 tells its CUDA, else it is 12.
        wanted: the user's own choice, taken as it is.

    Raises:
        ThoraxError: no AMI in the table is known to work for that machine and that CUDA.
    """
    if wanted or not has_gpu(instance_type):
        return wanted
    tag = re.search(r"cu(?:da)?-?(\d{2})", image.rpartition(":")[2])
    cuda = int(tag[1]) if tag else _DEFAULT_CUDA
    for found in MACHINE_IMAGES[job]:
        if family(instance_type) in found.families and found.driver >= _OLDEST.get(cuda, 10**6):
            return found.name
    known = ", ".join(f"ml.{name}" for name in sorted(MACHINE_IMAGES[job][0].families))
    raise ThoraxError(
        f"--instance-type {instance_type}: no machine image of AWS is known to run CUDA {cuda} on it in"
        f" {'an' if job[0] == 'e' else 'a'} {job}; take one of {known} with an image of CUDA 12, or name the machine"
        " image by --ami"
    )
