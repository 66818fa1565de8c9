"""What a training job installs besides source_dir/requirements.txt, by what it is told to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.models.registry import MODELS

#: Packages that only some jobs need, as pyproject.toml bounds them (a test compares).
OPTIONAL = {
    "wandb": "wandb>=0.19,<1",
    "tensorboard": "tensorboard>=2.17,<3",
    "mlflow-skinny": "mlflow-skinny>=2.16,<4",
    "nvidia-ml-py": "nvidia-ml-py>=12.535,<14",
    "openvino": "openvino>=2025.2,<2027",
    "nncf": "nncf>=2.17,<4",
    "timm": "timm>=1,<2",
    "pyarrow": "pyarrow>=16,<27",
    "python-gdcm": "python-gdcm>=3.0.24,<4",
    "pyjpegls": "pyjpegls>=1.4,<2",
    "pylibjpeg": "pylibjpeg>=2,<3",
    "pylibjpeg-openjpeg": "pylibjpeg-openjpeg>=2.4,<3",
    "sagemaker-mlflow": "sagemaker-mlflow>=0.1,<1",
}
_DICOM = ("python-gdcm", "pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg")
#: Formats whose images are DICOM, whatever their names end in.
_DICOM_SETS = ("rsna", "vindr")


@dataclass(frozen=True)
class Requirement:
    """One line of requirements.txt, and the hyperparameter, variable or data that needs it."""

    line: str
    reason: str

    @property
    def package(self) -> str:
        return package_of(self.line)


def package_of(line: str) -> str:
    """The package that a line of requirements.txt names, as indexes spell it; "" for a comment or an option."""
    found = re.match(r"[A-Za-z0-9][\w.-]*", line.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def needed(config: TrainingConfig, env: Mapping[str, str], files: Iterable[str] = ()) -> list[Requirement]:
    """What a job of this configuration needs besides the requirements of every job.

    Args:
        env: variables in the container.
        files: names of its data, as far as they are known.
    """
    found: dict[str, str] = {}

    def add(reason: str, *packages: str) -> None:
        for package in packages:
            found.setdefault(OPTIONAL.get(package, package), reason)

    if config.wandb_tracking != "false":
        add(f"wandb_tracking={config.wandb_tracking}", "wandb")
    if config.tensorboard:
        add("tensorboard=true", "tensorboard")
    if uri := env.get("MLFLOW_TRACKING_URI"):
        add("MLFLOW_TRACKING_URI", "mlflow-skinny", *(["sagemaker-mlflow"] if uri.startswith("arn:") else []))
    if config.profiler:
        add("profiler=true", "nvidia-ml-py")
    if config.optimize:
        add("optimize=true", "openvino", "nncf")
    if requirement := MODELS[config.network].requirement:
        add(f"network={config.network}", requirement)
    endings = {PurePosixPath(name).suffix.lower() for name in files}
    if endings & {".dcm", ".dicom", ".dic"} or config.data_format in _DICOM_SETS:
        add("DICOM images", *_DICOM)
    if endings & {".parquet", ".pq"} or config.data_format == "parquet":
        add("a table in Parquet", "pyarrow")
    return [Requirement(line, reason) for line, reason in found.items()]


def text(stored: str, extra: Sequence[Requirement]) -> str:
    """requirements.txt with what is needed besides; a package that it names already stays as it is there."""
    there = {package_of(line) for line in stored.splitlines()}
    lines = [f"{one.line}  # {one.reason}" for one in extra if one.package not in there]
    return stored.rstrip("\n") + "\n" + "".join(f"{line}\n" for line in lines) if lines else stored


def check_wheels(folder: Path, extra: Sequence[Requirement], advice: str) -> None:
    """Raises ThoraxError where a folder of wheels lacks a package of `extra`, which no image of AWS's holds.

    Args:
        advice: the command that fetches them.
    """
    there = {package_of(wheel.name.split("-")[0]) for wheel in folder.glob("*.whl")}
    if lacking := [f"{one.line} ({one.reason})" for one in extra if one.package not in there]:
        raise ThoraxError(f"--wheels {folder} has no wheel of {', '.join(lacking)}; fetch them: {advice}")
