"""What processing jobs have in common: the training image with source_dir/, and inputs below /opt/ml/processing."""

from __future__ import annotations

from typing import Any

from thorax_launch.sagemaker.machines import aws_image
from thorax_launch.sagemaker.requests import vpc, without_empty
from thorax_launch.sagemaker.training_jobs import TORCH
from thorax_launch.settings import AwsSettings

BASE = "/opt/ml/processing"
#: The container has nothing but the training image: the code comes with the job, as the input `tools`.
START = f"""set -euo pipefail
cd $(mktemp -d)
tar xzf {BASE}/tools/sourcedir.tar.gz
pip install -q -r requirements.txt 'rich>=13,<16'
"""


def application(script: str, instance_type: str, settings: AwsSettings, *arguments: str) -> dict[str, Any]:
    """AppSpecification of a job that runs a script of its input `tools`.

    Raises:
        ThoraxError: AWS has no image for that region and machine.
    """
    image = settings.training_image or aws_image("pytorch", TORCH, instance_type, settings.region, "training")
    words = {"ContainerEntrypoint": ["/bin/bash", f"{BASE}/tools/{script}"], "ContainerArguments": list(arguments)}
    return without_empty({"ImageUri": image, **words})


def s3_input(name: str, uri: Any) -> dict[str, Any]:
    """Everything below an address, copied to every machine."""
    place = {"S3Uri": uri, "LocalPath": f"{BASE}/{name}", "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": place}


def network(settings: AwsSettings) -> dict[str, Any]:
    """NetworkConfig. The containers install packages: they are never isolated."""
    return without_empty(
        {
            "EnableInterContainerTrafficEncryption": settings.encrypt_traffic,
            "EnableNetworkIsolation": False,
            "VpcConfig": vpc(settings),
        }
    )
