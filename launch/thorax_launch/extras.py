"""Packages that only some commands need, and the extra of thorax-sagemaker that installs each."""

from __future__ import annotations

#: What every installation has: a checkout whose environment was not set up lacks them.
BASE = ("numpy", "PIL", "psutil", "yaml", "rich", "torch", "torchvision")
#: Extra -> the modules that it brings.
EXTRAS = {
    "train": ("sklearn", "matplotlib", "jinja2", "tqdm", "pydicom", "sagemaker_training", "pyarrow"),
    "serve": ("starlette", "uvicorn", "httptools", "uvloop", "prometheus_client"),
    "openvino": ("openvino",),
    "optimize": ("nncf",),
    "tune": ("optuna",),
    "aws": ("boto3", "botocore", "sagemaker"),
    "ray": ("ray",),
    "torchserve": ("ts", "model_archiver", "sagemaker_inference", "sagemaker_pytorch_serving_container"),
}


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'thorax-sagemaker[{extra}]'"


def missing(error: ModuleNotFoundError) -> str:
    """One line: which package is missing, and how to get it.

    Raises:
        ModuleNotFoundError: the same, where no extra has the module.
    """
    module = (error.name or "").partition(".")[0]
    if module in BASE:
        return (
            f"{module} is not installed, and every command needs it; run: make setup, or pip install thorax-sagemaker"
        )
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f"{module} is not installed, and this needs it; run: {install(extra)}"
    raise error
