"""What an operator may set on a server: THORAX_* variables of the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from thorax import job
from thorax.data.views import MOST
from thorax.errors import ThoraxError, deprecated
from thorax.machine import free_cpus
from thorax.serving.clients import Clients
from thorax.serving.engines.devices import SERVED

PREFIX = "THORAX_"
_TOKEN = re.compile(r"[A-Za-z0-9._-]{16,200}")
#: Set to "true" by SageMaker in the container of a batch transform.
BATCH = "SAGEMAKER_BATCH"
#: Values of binary_answer.
BINARY_ANSWERS = ("both", "positive")


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server; each is the variable THORAX_<NAME>, for example THORAX_MAX_WAIT_MS=2.

    Attributes:
        precision: auto, float32, bfloat16 or int8.
        engine: auto, torch or openvino (see Classifier).
        tta: views of each image whose logits are averaged; 0: the bundle's own number, 1: the image alone.
        binary_answer: what a bare answer of a model of two exclusive classes holds: both (two probabilities in the
            order of the classes, as a softmax gives them) or positive (the second class's alone).
        workers: forward passes that run at once; 0: by the CPUs that are free, 1 on a GPU.
        threads: of the arithmetic of one forward pass; 0: the CPUs that are free, shared by the workers.
        max_batch: images of one forward pass, at most; 0: 16, on a GPU 64.
        max_wait_ms: how long a forward pass waits for images that are still being read, at most.
        max_queue: requests that are worked on or wait, at most; more are answered with 429.
        max_request_bytes: size of a request's body, at most; more is answered with 413.
        max_images: images of one request, at most; a view of test-time augmentation counts as one.
        max_pixels: pixels of one image, at most.
        timeout_s: seconds for one request, at most: reading it (408) and answering it (503).
        drain_s: seconds that a server which is asked to stop goes on answering what it has begun.
        s3_prefixes: S3 places that {"s3_uri": ...} may name, as s3://bucket/prefix, with commas; none: S3 is not read.
        hosts: further host names by which a server on this machine may be asked, with commas (see serving/guard.py).
        proxies: addresses and networks of proxies in front, with commas: of requests that come from them the client is
            who X-Forwarded-For says. None: the client is the address that a connection comes from.
        token: what callers of a server on this machine must know; none: nothing.
        batch_job: an image that cannot be answered gets status 200 with its error as the body, because a SageMaker
            batch transform fails as a whole at the first other status. Default: SAGEMAKER_BATCH, which SageMaker sets
            in the containers of such jobs. A caller who accepts anything gets JSON Lines then.
    """

    precision: str = "auto"
    engine: str = "auto"
    tta: int = 0
    binary_answer: str = "both"
    workers: int = 0
    threads: int = 0
    max_batch: int = 0
    max_wait_ms: float = 5.0
    max_queue: int = 64
    max_request_bytes: int = 25 * 2**20
    max_images: int = 256
    max_pixels: int = 50_000_000
    timeout_s: float = 30.0
    drain_s: float = 20.0
    s3_prefixes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    batch_job: bool = False

    def __post_init__(self) -> None:
        for name in ("max_queue", "max_request_bytes", "max_images", "max_pixels", "timeout_s", "drain_s"):
            if not getattr(self, name) > 0:
                raise ThoraxError(f"{PREFIX}{name.upper()}={getattr(self, name)} must be above 0")
        for name in ("workers", "threads", "max_batch", "max_wait_ms", "tta"):
            if not getattr(self, name) >= 0:
                raise ThoraxError(f"{PREFIX}{name.upper()}={getattr(self, name)} must be 0 or more")
        if self.token and not _TOKEN.fullmatch(self.token):
            raise ThoraxError(
                f"{PREFIX}TOKEN must be 16 to 200 letters, digits, dots, hyphens or underscores; `thorax deploy --local"
                " --token` makes one"
            )
        for prefix in self.s3_prefixes:
            if not prefix.startswith("s3://") or not prefix[5:].split("/")[0]:
                raise ThoraxError(f"{PREFIX}S3_PREFIXES names {prefix}; write s3://bucket or s3://bucket/prefix")
        if self.tta > MOST:
            raise ThoraxError(
                f"{PREFIX}TTA={self.tta} must be 1 (the image alone) to {MOST} views, or 0: the bundle's own"
            )
        Clients(self.proxies)
        if self.binary_answer not in BINARY_ANSWERS:
            raise ThoraxError(f"{PREFIX}BINARY_ANSWER={self.binary_answer} must be {' or '.join(BINARY_ANSWERS)}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **given: Any) -> ServerSettings:
        """The settings that the environment names; `given` ones win.

        Raises:
            ThoraxError: a variable that is no setting, or a value that does not fit.
        """
        env = job.environment() if environment is None else environment
        kinds = {setting.name: str(setting.type) for setting in fields(cls)}
        found = {"batch_job": env[BATCH].lower() == "true"} if BATCH in env else {}
        for key in sorted(key for key in env if key.startswith(PREFIX)):
            name = key.removeprefix(PREFIX).lower()
            if name in FORMER:
                name = FORMER[name]
                deprecated(key, PREFIX + name.upper())
            if name in OTHER_VARIABLES:
                continue
            if name not in kinds:
                raise ThoraxError(f"{key} is no setting; there are {', '.join(PREFIX + n.upper() for n in kinds)}")
            found[name] = _value(key, env[key], kinds[name])
        return cls(**{**found, **given})

    def without_guard(self, server: str) -> ServerSettings:
        """These settings, for a server that has an HTTP server of its own.

        Raises:
            ThoraxError: they ask for what only the app's own server does.
        """
        for name in ("token", "hosts"):
            if getattr(self, name):
                raise ThoraxError(
                    f"{PREFIX}{name.upper()} is set, but {server} answers everybody who reaches it; serve by the app,"
                    " or unset it and keep strangers out in front"
                )
        return self

    def placed(self, gpu: bool, cpus: float | None = None) -> ServerSettings:
        """The settings with numbers for workers, threads and max_batch.

        The free CPUs, or a replica's share of them, are shared out: up to four forward passes run at once, each on its
        part of the CPUs. Threads of one pass wait for each other, which on a busy machine costs more than it gains.
        """
        share = max(1, int(cpus) if cpus else free_cpus())
        workers = self.workers or (1 if gpu else min(4, max(1, share // (self.threads or 1))))
        threads = self.threads or max(1, share // workers)
        return replace(self, workers=workers, threads=threads, max_batch=self.max_batch or SERVED[gpu])


#: Former name of a setting -> its name now.
FORMER = {"max_films": "max_images"}
#: Variables with the same prefix that are no ServerSettings: places, Replicas, the tests.
OTHER_VARIABLES = ("bundle", "bundle_key", "cache", "replicas", "max_replicas", "cpus", "gpus", "realdata")


def bundle_folder(default: Path, environment: Mapping[str, str] | None = None) -> Path:
    """Where the bundle is: THORAX_BUNDLE, else the default."""
    env = job.environment() if environment is None else environment
    return Path(env.get(PREFIX + "BUNDLE") or default)


@dataclass(frozen=True)
class Replicas:
    """How many copies of the server Ray runs; each field is the variable THORAX_<NAME>.

    Attributes:
        replicas: copies.
        max_replicas: more than `replicas`: Ray starts up to so many under load.
        cpus: CPUs of each.
        gpus: GPUs of each; 0.5: two share one; -1: a whole one if there is one.
    """

    replicas: int = 1
    max_replicas: int = 0
    cpus: float = 1.0
    gpus: float = -1.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Replicas:
        """The replicas that the environment names.

        Raises:
            ThoraxError: a value does not fit.
        """
        env = job.environment() if environment is None else environment
        kinds = {setting.name: str(setting.type) for setting in fields(cls)}
        found = {
            name: _value(key, env[key], kind) for name, kind in kinds.items() if (key := PREFIX + name.upper()) in env
        }
        made = cls(**found)
        if made.replicas < 1 or made.cpus <= 0 or (made.gpus < 0 and made.gpus != -1):
            raise ThoraxError(
                f"{PREFIX}REPLICAS={made.replicas} must be 1 or more, {PREFIX}CPUS={made.cpus:g} above 0,"
                f" {PREFIX}GPUS={made.gpus:g} 0 or more"
            )
        return made


def _value(key: str, text: str, kind: str) -> Any:
    if kind == "bool":
        if text.strip().lower() not in ("true", "false"):
            raise ThoraxError(f"{key}={text} must be true or false")
        return text.strip().lower() == "true"
    try:
        if kind.startswith("tuple"):
            return tuple(word.strip() for word in text.split(",") if word.strip())
        return {"int": int, "float": float, "str": str}[kind](text.strip())
    except ValueError:
        raise ThoraxError(f"{key}={text} is not {'a whole number' if kind == 'int' else 'a number'}") from None
