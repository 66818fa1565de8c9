"""Job: where a run reads and writes. The one module that knows /opt/ml, channels, SM_* and the process group."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from thorax import secrets
from thorax.errors import ThoraxError
from thorax.machine import free_cpus
from thorax.secrets import mask

#: Path arguments -> their other spellings.
PATHS: dict[str, tuple[str, ...]] = {
    "train": ("training",),
    "validation": ("val", "valid"),
    "test": (),
    "train_lst": (),
    "validation_lst": (),
    "test_lst": (),
    "weights": (),
    "model": (),
    "held_out": (),
    "model_dir": (),
    "output_data_dir": ("output_dir",),
    "checkpoint_dir": ("checkpoints",),
}
#: Channel names that the trainer understands, and their other names in public projects.
CHANNELS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing", "eval"),
    "train_lst": ("train_lst",),
    "validation_lst": ("validation_lst", "val_lst"),
    "test_lst": ("test_lst",),
    "weights": ("weights", "pretrained"),
    "model": ("model",),
    "held_out": ("held_out",),
}

#: The environment variable with the dollars of an hour of all machines together, which the launcher sets.
HOUR_PRICE = "THORAX_PRICE_PER_HOUR"


def set_if_missing(name: str, value: str) -> None:
    """Sets an environment variable of this process that a library reads, where nobody has set it."""
    os.environ.setdefault(name, value)


def environment() -> Mapping[str, str]:
    """The process's environment; nothing else in source_dir/ reads it."""
    return os.environ


def resolve_secrets() -> list[str]:
    """Fetches the secrets that the environment names, into it; see secrets.resolve."""
    return secrets.resolve(os.environ)


def in_container(env: Mapping[str, str] | None = None) -> bool:
    """Whether SageMaker, its toolkit or the SDK's drivers started this process, and not a person."""
    env = os.environ if env is None else env
    return "SM_MODEL_DIR" in env or "SM_CHANNELS" in env


def cache_folder(env: Mapping[str, str]) -> Path | None:
    """Where this user's caches of ours lie: XDG_CACHE_HOME/thorax, else ~/.cache/thorax; None without a home."""
    given = env.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the XDG base directory specification: others are ignored
        return Path(given) / "thorax"
    try:
        return Path.home() / ".cache" / "thorax"
    except RuntimeError:
        return None


@dataclass(frozen=True)
class Process:
    """This process among the run's processes, by torchrun's environment variables.

    Attributes:
        rank: from 0, among the `world_size` processes of all machines.
        local_rank: from 0, among the `local_world_size` processes of this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@dataclass(frozen=True)
class Job:
    """Paths of one run.

    Attributes:
        channels: folder of each channel that was given, by the trainer's name for it.
        model_dir: the bundle goes here.
        output_dir: metrics.json, history and report go here (SageMaker: output/data).
        checkpoint_dir: checkpoints; where there are some, the run is resumed.
        failure_file: one line with the reason of a failed run (SageMaker: output/failure; started plainly,
            OUT-job/output/failure, wherever the other outputs go); None where no place is known yet.
        process: rank and world size.
        host: this machine's name among `hosts`.
        name: the job's, for trackers.
        cache_dir: what is measured once a machine is remembered here: XDG_CACHE_HOME/thorax, else (in SageMaker)
            cache/ beside the checkpoints, else ~/.cache/thorax; None: nowhere.
        tensorboard_dir: event files go here (SageMaker: the LocalPath of tensorboardoutputconfig.json, if any).
        debug_hook_file: SageMaker Debugger's debughookconfig.json (SMDEBUG_CONFIG_FILE_PATH); None where there is none.
        mlflow_uri: MLFLOW_TRACKING_URI, an address or the ARN of a SageMaker MLflow server; set, it turns MLflow on.
        hour_price: THORAX_PRICE_PER_HOUR, dollars an hour of all machines together; None: not known.
        mlflow_experiment, wandb_project: MLFLOW_EXPERIMENT_NAME and WANDB_PROJECT. Keys stay in the environment, where
            the libraries themselves look for them.
    """

    channels: Mapping[str, Path]
    model_dir: Path
    output_dir: Path
    checkpoint_dir: Path
    failure_file: Path | None
    process: Process = field(default_factory=Process)
    host: str = "localhost"
    hosts: tuple[str, ...] = ("localhost",)
    cpus: int = 1
    cache_dir: Path | None = None
    name: str = ""
    tensorboard_dir: Path = Path("tensorboard")
    debug_hook_file: Path | None = None
    mlflow_uri: str | None = None
    mlflow_experiment: str = "thorax"
    wandb_project: str = "thorax"
    hour_price: float | None = None

    @classmethod
    def from_environment(
        cls, arguments: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
    ) -> Job:
        """The job that command line and environment describe; arguments win.

        Inside SageMaker (or its toolkit) everything lies below SAGEMAKER_BASE_DIR, by default /opt/ml. Started
        plainly with --model-dir OUT, the rest lies in OUT-job.

        Args:
            arguments: path arguments as given: train, validation, test, weights, model, model_dir, output_data_dir,
                checkpoint_dir. Empty texts count as not given.
            environment: default os.environ.

        Raises:
            ThoraxError: an argument is an address (s3://...) and not a path, or a price is no number.
        """
        env = os.environ if environment is None else environment
        given = {key: text for key, text in (arguments or {}).items() if text}
        for key, text in given.items():
            if "://" in text:
                raise ThoraxError(
                    f"--{key} {text} is not a folder of this machine; S3 places are named in the job's inputs and"
                    " outputs, not here"
                )
        base = Path(env.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
        inside = in_container(env)
        model_dir = Path(
            given.get("model_dir") or env.get("SM_MODEL_DIR") or ("model" if not inside else base / "model")
        )
        root = base if inside else Path(f"{model_dir}-job")
        output = given.get("output_data_dir") or env.get("SM_OUTPUT_DATA_DIR") or root / "output" / "data"
        # Jobs of a search share one S3 address.
        own = env.get("TRAINING_JOB_NAME", "") if env.get("THORAX_CHECKPOINTS") == "per-job" else ""
        checkpoints = given.get("checkpoint_dir") or root / "checkpoints" / own
        failure = root / "output" / "failure" if inside or "model_dir" in given else None
        hosts = tuple(re.findall(r"[\w.-]+", env.get("SM_HOSTS", ""))) or ("localhost",)
        return cls(
            channels=_channels(given, env),
            model_dir=model_dir,
            output_dir=Path(output),
            checkpoint_dir=Path(checkpoints),
            failure_file=failure,
            process=_process(env),
            host=env.get("SM_CURRENT_HOST", hosts[0]),
            hosts=hosts,
            name=env.get("TRAINING_JOB_NAME") or model_dir.absolute().name,
            tensorboard_dir=_tensorboard_dir(base) or Path(output) / "tensorboard",
            debug_hook_file=_existing(
                Path(env.get("SMDEBUG_CONFIG_FILE_PATH") or base / "input" / "config" / "debughookconfig.json")
            ),
            mlflow_uri=env.get("MLFLOW_TRACKING_URI") or None,
            mlflow_experiment=env.get("MLFLOW_EXPERIMENT_NAME") or "thorax",
            wandb_project=env.get("WANDB_PROJECT") or "thorax",
            hour_price=_hour_price(env),
            cpus=free_cpus(),
            cache_dir=base / "cache" if inside and "XDG_CACHE_HOME" not in env else cache_folder(env),
        )

    @classmethod
    def below(cls, folder: Path, channels: Mapping[str, Path | str]) -> Job:
        """The job of one process of this machine that is laid out below `folder` as SageMaker lays one out below
        /opt/ml: model/ is the bundle, output/data/ the report, checkpoints/. Trackers are set up as in the environment.

        Raises:
            ThoraxError: an unknown channel, or an address (s3://...) instead of a path.
        """
        if unknown := [name for name in channels if name not in CHANNELS]:
            raise ThoraxError(f"channel {unknown[0]} is unknown; known are {', '.join(CHANNELS)}")
        trackers = {key: text for key, text in os.environ.items() if key.startswith(("MLFLOW_", "WANDB_", HOUR_PRICE))}
        cache = cache_folder(os.environ)
        base = folder.absolute()
        places = {"SAGEMAKER_BASE_DIR": str(base), "SM_MODEL_DIR": str(base / "model"), "TRAINING_JOB_NAME": base.name}
        job = cls.from_environment({name: str(path) for name, path in channels.items()}, trackers | places)
        return replace(job, cache_dir=cache)

    def channel(self, name: str) -> Path:
        """Folder (or file) of a channel.

        Raises:
            ThoraxError: the channel was not given, or does not exist.
        """
        if name not in self.channels:
            raise ThoraxError(
                f"channel {name} is missing; give --{name} DIR (on SageMaker: an input channel named {name})"
            )
        # Path.exists raises where a name is too long or a folder cannot be read.
        if not os.path.exists(self.channels[name]):
            raise ThoraxError(f"channel {name}: {self.channels[name]} does not exist; check --{name}")
        return self.channels[name]

    def prepare(self) -> None:
        """Makes the output folders and proves that they can be written, before hours are spent.

        Raises:
            ThoraxError: no --model-dir in a plain start, or a folder cannot be made or written.
        """
        if self.failure_file is None:
            raise ThoraxError("--model-dir is missing; it names the folder that the bundle is written to")
        for flag, folder in (
            ("--model-dir", self.model_dir),
            ("--output-data-dir", self.output_dir),
            ("--checkpoint-dir", self.checkpoint_dir),
        ):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".writable-{os.getpid()}"
                probe.write_bytes(b"")
                probe.unlink()
            except OSError as error:
                raise ThoraxError(
                    f"{flag} {folder} cannot be written: {error.strerror}; choose another folder or make it writable"
                ) from None

    def fail(self, message: str) -> None:
        """Writes why the run failed in one line: to standard error, and to the file that SageMaker shows.

        Of several processes only the first to fail does, with its rank; an existing file is kept.
        """
        if self.process.world_size > 1:
            message = f"{message} (rank {self.process.rank} of {self.process.world_size})"
        # File names may be no UTF-8.
        message = mask(" ".join(message.splitlines())).encode("utf-8", "backslashreplace").decode()
        try:
            if self.failure_file is not None:
                self.failure_file.parent.mkdir(parents=True, exist_ok=True)
                with self.failure_file.open("x", encoding="utf-8") as file:
                    file.write(f"{message}\n")
        except FileExistsError:
            if self.process.world_size > 1:
                return
        except OSError:  # a read-only or full disk: the terminal still has it
            pass
        print(f"error: {message}", file=sys.stderr, flush=True)

    def clear_failure(self) -> None:
        """Takes an earlier run's reason away; best effort."""
        try:
            if self.failure_file is not None:
                self.failure_file.unlink(missing_ok=True)
        except OSError:
            pass


def _channels(given: Mapping[str, str], env: Mapping[str, str]) -> dict[str, Path]:
    channels: dict[str, Path] = {}
    for name, others in CHANNELS.items():
        text = given.get(name) or next(
            (env[key] for other in others if (key := f"SM_CHANNEL_{other.upper()}") in env), None
        )
        if text:
            channels[name] = Path(text)
    return channels


def _hour_price(env: Mapping[str, str]) -> float | None:
    """Raises ThoraxError: it is no number of 0 or more."""
    if not (text := env.get(HOUR_PRICE, "").strip()):
        return None
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text):
        raise ThoraxError(f"{HOUR_PRICE}={text} is not a number of dollars, such as 1.20; correct it or leave it out")
    return float(text)


def _existing(file: Path) -> Path | None:
    return file if os.path.isfile(file) else None


def _tensorboard_dir(base: Path) -> Path | None:
    """The folder that SageMaker copies to S3 while the job runs, where the job was given one."""
    try:
        stored = json.loads((base / "input" / "config" / "tensorboardoutputconfig.json").read_text(encoding="utf-8"))
        return Path(stored["LocalPath"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def _process(env: Mapping[str, str]) -> Process:
    if "RANK" not in env or "WORLD_SIZE" not in env:
        return Process()
    return Process(
        rank=int(env["RANK"]),
        world_size=int(env["WORLD_SIZE"]),
        local_rank=int(env.get("LOCAL_RANK", "0")),
        local_world_size=int(env.get("LOCAL_WORLD_SIZE", "1")),
    )
