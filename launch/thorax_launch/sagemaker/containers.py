"""Variables of a serving container: how many replicas it runs, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping

from thorax.secrets import is_secret
from thorax.serving.settings import PREFIX, Replicas, ServerSettings
from thorax_launch.options import TransformOptions
from thorax_launch.sagemaker.machines import gpu_count

#: Bytes of a megabyte, as batch transforms count.
MB = 2**20
#: A server holds eight of its largest requests; a batch transform sends up to 100 MB at once.
_LEAST_LIMIT_MB = 13
#: The toolkit (2.0.25) switches /models on in a line that it joins with the next one, so that TorchServe (0.12) does
#: not read it and answers 405; the variable does it.
_MODEL_API = {"TS_ENABLE_MODEL_API": "true"}
_TORCHSERVE = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}


def environment(server: str, machine: str, given: Mapping[str, str], several: bool = False) -> dict[str, str]:
    """The variables of a container on that machine: one replica per GPU, then the user's own, which win.

    Args:
        server: ray or torchserve, which starts a worker per GPU by itself.
        machine: its type; "" for a serverless endpoint.
        given: the user's variables.
        several: whether it is a multi-model endpoint's.

    Raises:
        ThoraxError: a THORAX_ variable that would stop the server at its start.
    """
    ServerSettings.from_environment(given)
    Replicas.from_environment(given)
    if server == "torchserve":
        return {**_TORCHSERVE, **(_MODEL_API if several else {}), **given}
    gpus = (gpu_count(machine) or 0) if machine else 0
    return {**({f"{PREFIX}REPLICAS": str(gpus)} if gpus > 1 else {}), **given}


def readable_secrets(variables: Mapping[str, str]) -> list[str]:
    """A line for each variable of a container that is a secret: whoever may describe the model reads it."""
    return [
        f"note:     {name} is readable by all who may describe the model; give those alone sagemaker:DescribeModel"
        for name in variables
        if is_secret(name)
    ]


def idle_gpus(server: str, machine: str, variables: Mapping[str, str]) -> str:
    """A line where GPUs of the machine would do nothing; "" where none would.

    Args:
        server, machine: see `environment`.
        variables: of the container.
    """
    gpus = gpu_count(machine) if machine else 0
    if gpus is None:
        return (
            f"note:     {machine} is not in the SDK's table of GPUs: one of them is used; for more give --env"
            f" {PREFIX}REPLICAS=N"
        )
    replicas = Replicas.from_environment(variables)
    used = max(replicas.replicas, replicas.max_replicas) * (1.0 if replicas.gpus < 0 else replicas.gpus)
    if server != "ray" or used >= gpus:
        return ""
    return f"note:     {machine} has {gpus} GPUs, of which {used:g} would work: {PREFIX}REPLICAS={replicas.replicas}"


def transform_environment(server: str, options: TransformOptions) -> dict[str, str]:
    """The variables of a batch transform's container: what it takes, by the job's options, then the user's own.

    Raises:
        ThoraxError: a THORAX_ variable that would stop the server at its start.
    """
    if server == "torchserve":
        size = str(options.payload_mb * MB)
        limits = {"TS_MAX_REQUEST_SIZE": size, "TS_MAX_RESPONSE_SIZE": size}
    else:
        limits = {
            f"{PREFIX}MAX_REQUEST_BYTES": str(max(options.payload_mb, _LEAST_LIMIT_MB) * MB),
            f"{PREFIX}MAX_QUEUE": str(max(ServerSettings.max_queue, options.concurrent)),
        }
    return environment(server, options.instance_type, {**limits, **options.env})
