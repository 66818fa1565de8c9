"""Settings: where on AWS, under which role, how secured. Flags > thorax.yaml > the SDK's config.yaml > the session."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.secrets import is_secret, remember
from thorax.yaml_reading import read_yaml
from thorax_launch.options import declared, did_you_mean, entries

FILE = "thorax.yaml"
#: Begins the keys of the tags by which this project knows what it made.
RESERVED = "thorax:"
#: Setting -> what its text must look like, and that in words.
_FORMS = {
    "region": (r"[a-z0-9]+(-[a-z0-9]+)*", "a region such as eu-central-1"),
    "role": (
        r"(?!arn:).*|arn:aws[a-z-]*:iam::\d{12}:role/\S+",
        "a role's name, or its ARN arn:aws:iam::ACCOUNT:role/NAME with twelve digits",
    ),
    "bucket": (
        r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "a bucket's name alone: 3 to 63 of a-z, 0-9, dot and hyphen, a letter or digit at both ends; a folder in it"
        " is the prefix",
    ),
}


@dataclass(frozen=True)
class AwsSettings:
    """The same for every job of a project: keys of thorax.yaml, flags of the commands. Empty texts are "not set".

    Attributes:
        profile: of the AWS credentials file.
        region: such as eu-central-1.
        role: ARN of the role that jobs and endpoints run as.
        bucket: where everything lies.
        prefix: below which, in the bucket.
        subnets: of the VPC; with security_groups, or neither.
        security_groups: of the VPC.
        kms_key: encrypts uploads and outputs; disks too unless volume_kms_key is set or the machine has local storage.
        volume_kms_key: encrypts the disks; refused for jobs on machines with local storage, which have a hardware key
            of their own.
        training_image: URI; empty: AWS's image of torch 2.10.
        serving_image: URI; empty: AWS's Ray Serve image.
        network_isolation: no network in the container.
        encrypt_traffic: between the machines of a job.
        tags: key -> value, on everything that is made.
        prices: file with prices for an upper bound of the cost.
    """

    profile: str = declared("", "NAME", "AWS profile")
    region: str = declared("", "REGION")
    role: str = declared("", "ARN_OR_NAME", "execution role of the job")
    bucket: str = declared("", "BUCKET", "default: sagemaker-REGION-ACCOUNT")
    prefix: str = declared("thorax", "PREFIX", "folder in the bucket (default: thorax)")
    subnets: tuple[str, ...] = declared((), "ID,ID", "VPC subnets")
    security_groups: tuple[str, ...] = declared((), "ID,ID", "VPC security groups")
    kms_key: str = declared("", "KEY", "encrypts uploads, outputs and, unless --volume-kms-key says otherwise, disks")
    volume_kms_key: str = declared(
        "", "KEY", "encrypts disks; not for jobs on machines with local storage, such as ml.g5"
    )
    training_image: str = declared("", "URI", "default: AWS's PyTorch image")
    serving_image: str = declared("", flag=None)
    network_isolation: bool = declared(False, help="no network in the container")
    encrypt_traffic: bool = declared(False, help="between the machines of a job")
    tags: Mapping[str, str] = declared({}, "KEY=VALUE", "tag on everything that is made; may be repeated", flag="tag")
    prices: str = declared("", "FILE", "price table for an upper bound in dollars; see launch/prices.example.yaml")

    @property
    def root(self) -> str:
        """s3://bucket/prefix"""
        return "/".join(part for part in (f"s3://{self.bucket}", self.prefix.strip("/")) if part)

    @property
    def given(self) -> dict[str, Any]:
        """Those that differ from their defaults."""
        return {name: value for name, default in DEFAULTS.items() if (value := getattr(self, name)) != default}


#: Setting -> its default.
DEFAULTS: dict[str, Any] = {entry.name: entry.default for entry in entries(AwsSettings)}


@dataclass(frozen=True)
class Resolved:
    """Settings, and for each the place it came from."""

    settings: AwsSettings
    origins: Mapping[str, str]

    def table(self) -> str:
        """A line per setting: name, value, where it comes from."""
        values = {name: _plain(getattr(self.settings, name)) for name in DEFAULTS}
        width = max(map(len, values.values()))
        return "\n".join(
            f"{name:18} {value:{width}}  {self.origins.get(name, 'default')}" for name, value in values.items()
        )


def resolve(sources: Sequence[tuple[str, Mapping[str, Any]]]) -> Resolved:
    """Each setting from the first source that has it.

    Args:
        sources: (what to call it, name -> value), the strongest first. None, "" and empty lists count as not given.

    Raises:
        ThoraxError: an unknown setting or a value of the wrong type; names the source.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, given in sources:
        for name, value in given.items():
            if name not in DEFAULTS:
                raise ThoraxError(f"{origin}: unknown setting {name}{did_you_mean(str(name), list(DEFAULTS))}")
            if value is None or value in ("", (), [], {}):
                continue
            read = _read(origin, name, value)
            if name == "tags":
                _check_tags(origin, read)
                values[name] = {**read, **values.get(name, {})}
                origins[name] = f"{origins[name]}, {origin}" if name in origins else origin
            elif name not in values:
                values[name], origins[name] = read, origin
    settings = AwsSettings(**values)
    if bool(settings.subnets) != bool(settings.security_groups):
        present, missing = ("subnets", "security_groups") if settings.subnets else ("security_groups", "subnets")
        raise ThoraxError(f"{present} is set ({origins[present]}) but {missing} is not; a job in a VPC needs both")
    return Resolved(settings, origins)


def _check_tags(origin: str, given: Mapping[str, str]) -> None:
    """Raises ThoraxError for a key that only AWS or this project may set."""
    for key in given:
        if key.lower().startswith((RESERVED, "aws:")):
            where = f"--tag {key}={given[key]}" if origin == "flags" else f"{origin}: tags: {key}"
            owner = "AWS" if key.lower().startswith("aws:") else "thorax"
            raise ThoraxError(f"{where}: keys that begin with {key.partition(':')[0]}: are {owner}'s; choose another")


def read_file(path: Path | None) -> tuple[str, dict[str, Any]]:
    """(name, settings) of a settings file; of ./thorax.yaml where none is named, and nothing where there is none.

    Raises:
        ThoraxError: the named file cannot be read, or is no mapping.
    """
    import yaml

    file = path or Path(FILE)
    if path is None and not file.exists():
        return FILE, {}
    try:
        stored = read_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ThoraxError(f"--settings {file} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ThoraxError(f"--settings {file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(stored or {}, dict):
        raise ThoraxError(f"--settings {file} must be a mapping such as `region: eu-central-1`")
    return str(file), stored or {}


def pairs(flag: str, texts: list[str]) -> dict[str, str]:
    """KEY=VALUE texts as a mapping.

    Raises:
        ThoraxError: a text without "=", or a key twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ThoraxError(f"{flag} {text} must be KEY=VALUE")
        if key in found:
            both = "with two values" if is_secret(key) else f"{found[key]} and {value}"
            raise ThoraxError(f"{flag} {key} is given twice, {both}; give it once")
        found[key] = value
    if flag == "--env":
        remember(found)
    return found


def _read(origin: str, name: str, value: Any) -> Any:
    kind = type(DEFAULTS[name])
    if kind is tuple and isinstance(value, str):
        value = [part for part in value.split(",") if part]
    if kind is tuple and isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return tuple(value)
    if kind is dict and isinstance(value, dict):
        return {str(key): str(text) for key, text in value.items()}
    if name in _FORMS and isinstance(value, str) and not re.fullmatch(_FORMS[name][0], value):
        raise ThoraxError(
            f"{f'--{name} {value!r}' if origin == 'flags' else f'{origin}: {name}={value!r}'} must be {_FORMS[name][1]}"
        )
    if kind in (str, bool) and isinstance(value, kind):
        return value
    expected = {tuple: "a list of texts", dict: "a mapping of texts", str: "a text", bool: "true or false"}[kind]
    raise ThoraxError(f"{origin}: {name}={value!r} must be {expected}")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{k}={v}" for k, v in value.items()) or "-"
    if isinstance(value, tuple):
        return ",".join(value) or "-"
    return str(value).lower() if isinstance(value, bool) else value or "-"
