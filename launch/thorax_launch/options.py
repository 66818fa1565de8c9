"""What can be chosen on AWS, each option declared once: its type, default and flag, and its place in the request.

A field of a table here is a flag of the command line (`volume_gb` is --volume-gb) and a keyword of the functions of
thorax_launch.sagemaker. A field of MachineOptions is also a key of a recipe and a field of the request: to add one, add
its entry there and nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from thorax.errors import ThoraxError

#: Hours that AWS lets a job run and wait.
LONGEST = 672
#: Options of endpoints and of batch transforms.
IMAGE = {
    "metavar": "IMAGE",
    "help": "ray (AWS's Ray Serve, default), torchserve (AWS's of PyTorch 2.6), or the URI of your own",
}
ENV = {"metavar": "NAME=VALUE", "help": "environment variable in the container; may be repeated"}
AMI = {"metavar": "AMI", "help": "machine image of GPU machines, with the driver (default: by --image and the machine)"}
Table = TypeVar("Table")


@dataclass(frozen=True)
class Option:
    """What an option has besides its name, type and default.

    Attributes:
        metavar: stands for the value in the help.
        help: one line.
        choices: the values that it takes; empty: any of its type.
        flag: its flag, where that is not its name; None: it has no flag.
        positive: a number below 1 is refused where the flag is read.
        field: AWS's names, joined by dots, of the request field that it fills; "": a function of sagemaker/ places it.
        value: what the field gets, computed from all the options; default: the option's own value. None leaves the
            field out.
    """

    metavar: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()
    flag: str | None = ""
    positive: bool = False
    field: str = ""
    value: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Entry:
    """One row of a table: a field's name, its default and its Option."""

    name: str
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """Such as --volume-gb; "" where it has none."""
        return "" if self.option.flag is None else f"--{self.option.flag or self.name.replace('_', '-')}"

    @property
    def kind(self) -> type:
        """Of its values: that of the default; float where there is no default."""
        return float if self.default is None else type(self.default)

    def problem(self, value: Any) -> str:
        """What is wrong with a value, as the end of a message; "" where it is of the option's type and choices, a
        number 0 or above.
        """
        if self.kind is bool:
            return "" if isinstance(value, bool) else " must be true or false"
        if self.kind in (int, float) and not (is_number(value, whole=self.kind is int) and value >= 0):
            return f" is not a {'whole number' if self.kind is int else 'number'}"
        if self.kind is dict and not isinstance(value, Mapping):
            return " must be a mapping"
        if self.option.choices and value not in self.option.choices:
            return f" must be {' or '.join(self.option.choices)}"
        return ""


def declared(default: Any, metavar: str = "", help: str = "", **more: Any) -> Any:
    """A dataclass field with that default and Option(metavar, help, **more)."""
    option = {"option": Option(metavar, help, **more)}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=option)
    return field(default=default, metadata=option)


def is_number(value: Any, whole: bool) -> bool:
    """Whether a value is a number; a truth value is none."""
    return not isinstance(value, bool) and isinstance(value, int if whole else int | float)


def entries(table: type) -> Iterator[Entry]:
    """The options of a table, in order."""
    for found in dataclasses.fields(table):
        if "option" in found.metadata:
            missing = found.default is dataclasses.MISSING
            yield Entry(found.name, {} if missing else found.default, found.metadata["option"])


def chosen(table: type[Table], given: Mapping[str, Any]) -> Table:
    """The options of a table: the given values, and the default where one is not given or None.

    Raises:
        ThoraxError: an unknown name, or a value that the option does not take.
    """
    known = {entry.name: entry for entry in entries(table)}
    values = {name: value for name, value in given.items() if value is not None}
    for name, value in values.items():
        if name not in known:
            raise ThoraxError(f"unknown option {name}{did_you_mean(name, list(known))}")
        if known[name].option.positive and is_number(value, whole=False) and value < 1:
            raise ThoraxError(f"{known[name].flag} {value} must be 1 or more")
        if problem := known[name].problem(value):
            raise ThoraxError(f"{known[name].flag} {value}{problem}")
    return table(**values)


def did_you_mean(name: str, known: list[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; it must be one of {', '.join(known)}"


def request_fields(options: MachineOptions) -> dict[str, Any]:
    """The request fields that the options fill: AWS's names, nested as AWS nests them."""
    found: dict[str, Any] = {}
    for entry in entries(type(options)):
        if not entry.option.field:
            continue
        value = entry.option.value(options) if entry.option.value else getattr(options, entry.name)
        *parents, name = entry.option.field.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is not None:
            place[name] = value
    return found


def _longest_wait(options: MachineOptions) -> int | None:
    """Seconds; None without spot machines."""
    hours = min(options.max_wait_hours or 2 * options.max_hours, LONGEST)
    return round(hours * 3600) if options.spot else None


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """The machines of a training or tuning job."""

    instance_type: str = declared(
        "ml.m5.xlarge",
        "TYPE[,TYPE]",
        "such as ml.g5.xlarge; of several the first that AWS has",
        field="ResourceConfig.InstanceType",
        value=lambda options: None if "," in options.instance_type else options.instance_type,
    )
    instance_count: int = declared(
        1, "N", "machines that train together, under torchrun", field="ResourceConfig.InstanceCount"
    )
    volume_gb: int = declared(50, "GB", "disk per machine", field="ResourceConfig.VolumeSizeInGB")
    max_hours: float = declared(
        24.0,
        "H",
        "the job is stopped after this long",
        field="StoppingCondition.MaxRuntimeInSeconds",
        value=lambda options: round(options.max_hours * 3600),
    )
    spot: bool = declared(
        False, "", "spare capacity at a lower price; resumes from checkpoints", field="EnableManagedSpotTraining"
    )
    max_wait_hours: float = declared(
        0.0,
        "H",
        "with --spot: longest time including waiting (default: twice --max-hours)",
        field="StoppingCondition.MaxWaitTimeInSeconds",
        value=_longest_wait,
    )
    warm_pool_minutes: int = declared(
        0,
        "MIN",
        "keep the machines for the next job; they are billed",
        field="ResourceConfig.KeepAlivePeriodInSeconds",
        value=lambda options: options.warm_pool_minutes * 60 or None,
    )
    input_mode: str = declared(
        "File",
        "",
        "File copies the data first, FastFile streams it from S3",
        field="AlgorithmSpecification.TrainingInputMode",
        choices=("File", "FastFile"),
    )


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """What an endpoint is made of. 0, "" and False are "not given"."""

    endpoint_name: str = declared("", "NAME", "default: the name of the bundle's job; one that exists is updated")
    instance_type: str = declared("", "TYPE[,TYPE]", "default: ml.m5.large; of several the first that AWS has")
    instance_count: int = declared(0, "N", "machines to begin with (default: 1)", positive=True)
    serverless: bool = declared(False, help="no machine of its own: costs by request; CPU, 4 MB a request, cold starts")
    asynchronous: bool = declared(
        False, help="requests and answers by way of S3; scales to 0 with --autoscale 0,N", flag="async"
    )
    memory_mb: int = declared(0, "MB", "with --serverless: 1024, 2048 ... 6144 (default: 4096)")
    concurrency: int = declared(0, "N", "with --serverless or --async: requests at once (default: 4)", positive=True)
    capture: int = declared(0, "PERCENT", "store so many of the requests and answers in the bucket (default: none)")
    autoscale: str = declared("", "LOW,HIGH", "between so many machines")
    autoscale_target: float | None = declared(
        None, "N", "requests a minute and machine (default: 600); with --async waiting requests (5)"
    )
    register: str = declared("", "GROUP", "also enter the bundle into the model registry, with metrics and model card")
    image: str = declared("", **IMAGE)
    ami: str = declared("", **AMI)
    env: Mapping[str, str] = declared({}, **ENV)
    startup_minutes: int = declared(0, "MIN", "until the container must answer /ping (default: AWS's)")
    download_minutes: int = declared(0, "MIN", "for fetching the bundle (default: AWS's)")
    provisioned: int = declared(0, "N", "with --serverless: so many copies that are always warm, and billed")
    success_topic: str = declared("", "ARN", "with --async: SNS topic that is told of each answer")
    error_topic: str = declared("", "ARN", "with --async: SNS topic that is told of each failure")
    canary: int = declared(0, "PERCENT", "update: so much of the traffic first, the rest after --bake-minutes")
    linear: int = declared(0, "PERCENT", "update: so much more of the traffic after each --bake-minutes")
    rolling: int = declared(0, "PERCENT", "update: so many of the machines at a time, each --bake-minutes apart")
    bake_minutes: int = declared(0, "MIN", "between the steps of an update (default: 5)")
    alarm: str = declared("", "NAME,NAME", "CloudWatch alarms that roll an update back (default: one of 5xx answers)")
    shadow: str = declared(
        "", "BUNDLE[:PERCENT]", "also send a copy of the requests to that bundle, whose answers nobody gets"
    )
    variant: Mapping[str, str] = declared(
        {}, "NAME=BUNDLE[:WEIGHT]", "in place of BUNDLE, once for each of several bundles that share the requests"
    )


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What a pipeline's steps besides the training run on."""

    step_instance_type: str = declared("ml.m5.xlarge", "TYPE", "machine that checks and evaluates")
    step_volume_gb: int = declared(50, "GB", "its disk", positive=True)
    step_hours: float = declared(4.0, "H", "each of these steps is stopped after this long")
    cache_days: int = declared(
        0, "DAYS", "skip the check where one with the same addresses (whatever is there now) is younger than this"
    )


@dataclass(frozen=True, kw_only=True)
class TransformOptions:
    """What a batch transform runs on."""

    job_name: str = declared("", "NAME", "default: the bundle's job and the time")
    instance_type: str = declared("ml.m5.xlarge", "TYPE", "default: ml.m5.xlarge")
    instance_count: int = declared(1, "N", "machines that share the images (default: 1)", positive=True)
    concurrent: int = declared(4, "N", "images at once in one machine (default: 4)", positive=True)
    payload_mb: int = declared(6, "MB", "largest image (default: 6)", positive=True)
    image: str = declared("", **IMAGE)
    ami: str = declared("", **AMI)
    env: Mapping[str, str] = declared({}, **ENV)
    jsonlines: bool = declared(False, help='FILE.out as {"prediction": [...]}, as the built-in algorithm writes it')
    resume: str = declared("", "JOB", "an earlier batch transform of these images: fetch its answers, send the rest")


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """The machines that prepare images in S3 together."""

    instances: int = declared(0, "N", "machines that share the images", positive=True)
    instance_type: str = declared("ml.m5.xlarge", "TYPE", "default: ml.m5.xlarge")
    volume_gb: int = declared(50, "GB", "disk per machine, for the images of one unit (default: 50)", positive=True)
    max_hours: float = declared(12.0, "H", "the job is stopped after this long (default: 12)")
    job_name: str = declared("", "NAME", "default: the command, the images and the time")
    resume: str = declared("", "NAME", "an earlier job of this command: fetch what it found, or do what is missing")
