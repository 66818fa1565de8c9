"""What a training job gets besides its request: packages, secrets and the content types of its channels, checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.secrets import PREFIX as SECRET
from thorax.secrets import is_secret, remember, service_of
from thorax.tracking.health.smdebug_shim import RELEASE
from thorax.tracking.health.smdebug_shim import WANTED as INSTALL_SMDEBUG
from thorax_launch import job_requirements
from thorax_launch.invocation import command
from thorax_launch.job_requirements import Requirement
from thorax_launch.settings import AwsSettings

if TYPE_CHECKING:
    from thorax_launch.sagemaker.training_jobs import Task


def environment(task: Task) -> dict[str, str]:
    """Variables in the container; of secrets the places that they are fetched from."""
    remember(task.env)
    smdebug = {INSTALL_SMDEBUG: "1"} if task.debugger else {}
    return {**task.env, **{f"{SECRET}{name}": reference for name, reference in task.secrets.items()}, **smdebug}


def secret_notes(task: Task) -> list[str]:
    """A line where secrets are fetched by the job, and one where they stand in the request, for all to read."""
    fetched = ", ".join(f"{name} from {service_of(place)[0]}" for name, place in task.secrets.items())
    plain = [name for name in task.env if is_secret(name)]
    rights = " ".join(f"--secret {place}" for place in task.secrets.values())
    return [
        *(
            [f"secrets:  {fetched}; the role needs the rights of `{command('iam')} execution {rights}`"]
            if fetched
            else []
        ),
        *(
            f"note:     {name} is readable by all who may describe the job; store it, and give --secret {name}=ITS_NAME"
            for name in plain
        ),
    ]


def check_secrets(settings: AwsSettings, task: Task) -> None:
    """Raises ThoraxError for a secret that the job could not fetch, or that is none."""
    for name, place in task.secrets.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ThoraxError(f"--secret {name}=...: {name} is no name of a variable")
        if name in task.env:
            raise ThoraxError(f"{name} is given twice, by --env and by --secret; leave --env out")
        if re.fullmatch(r"[0-9a-f]{40}|(local-|hf_|sk-)\S+|\S{120,}", place) and not place.startswith("arn:"):
            raise ThoraxError(
                f"--secret {name}=... looks like the secret itself; store it in Secrets Manager or SSM, and give its"
                " name or ARN"
            )
        service_of(place)
        if settings.network_isolation:
            raise ThoraxError(f"--secret {name} with --network-isolation: the container cannot fetch it; leave one out")


def requirements(task: Task) -> list[Requirement]:
    """What the job installs besides the requirements of every job."""
    names = [name for path in task.channels.values() if "://" not in path for name in _names(Path(path))]
    env = {**task.env, **dict.fromkeys(task.secrets, "secret")}
    return job_requirements.needed(TrainingConfig.parse(dict(task.hyperparameters)), env, names)


def _names(place: Path) -> Iterator[str]:
    return (path.name for path in ([place] if place.is_file() else place.rglob("*")))


def installs(task: Task, settings: AwsSettings) -> list[str]:
    """A line on what the job installs by itself; for an image of one's own, what that must hold."""
    found = requirements(task)
    if task.debugger:
        found = [*found, Requirement(RELEASE, "--debugger, without its dependencies")]
    if not found:
        return []
    listed = ", ".join(f"{one.package} ({one.reason})" for one in found)
    known = {**task.env, **task.secrets}
    if any(one.reason == "wandb_tracking=true" for one in found) and not {"WANDB_API_KEY", "WANDB_MODE"} & known.keys():
        offline = "note:     W&B has no key, so the run is tracked offline: --secret WANDB_API_KEY=NAME names one"
        return [offline, *_installed(listed, task, settings)]
    return _installed(listed, task, settings)


def _installed(listed: str, task: Task, settings: AwsSettings) -> list[str]:
    if settings.network_isolation and task.wheels is None:
        return [f"note:     the image must hold {listed}: the job has no network to install from"]
    return [f"installs: {listed}, from {'the wheels' if task.wheels else 'the package index'}, at the job's start"]


#: Ending of one object in S3 -> what it is.
_KINDS = {
    ".rec": "application/x-recordio",
    ".tar": "application/x-tar",
    ".csv": "text/csv",
    ".parquet": "application/x-parquet",
}


def check_content_type(name: str, given: str, found: str, path: str) -> None:
    """Raises ThoraxError for a content type that the channel's files are not of.

    Args:
        given: of --content-type.
        found: by the files; of what is in S3 already only single objects are known by their ending.
    """
    if not re.fullmatch(r"[\w.+-]+/[\w.+-]+(\s*;.*)?", given):
        raise ThoraxError(f"--content-type {name}={given} is no content type, such as application/x-image or text/csv")
    if "://" in path:
        found = _KINDS.get(PurePosixPath(path).suffix.lower(), "")
    base = given.partition(";")[0].strip()
    alike = {base, "application/x-image" if base.startswith("image/") else base}
    if found and found not in alike and base not in ("application/octet-stream", "application/x-image"):
        raise ThoraxError(
            f"--content-type {name}={given}, but the files in {path} are {found}; leave it out to have that"
        )
    if found and base == "application/x-image" and found in _KINDS.values() and "lst" not in name:
        raise ThoraxError(f"--content-type {name}={given}, but {path} holds {found}; leave it out to have that")
