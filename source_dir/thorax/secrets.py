"""Secrets: known by the names of their variables, masked in all that is printed, fetched by a job from AWS by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from thorax.errors import ThoraxError

#: Begins a variable that names the place of a secret: THORAX_SECRET_WANDB_API_KEY=arn:aws:secretsmanager:...
PREFIX = "THORAX_SECRET_"
#: Stands for a secret.
MASK = "***"
_NAME = re.compile(
    r"(^|_)(API_?KEY|ACCESS_?KEY|KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_ID)?$", re.I
)
_IN_ADDRESS = re.compile(r"(?<=://)([^/\s:@\"']+):([^/\s@\"']+)@")
#: What of an address that AWS signed lets others in, and the names of AWS's keys, which only accounts know.
_SIGNED = re.compile(
    r"(?<=[?&])(X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature)=[^&\s\"'<>]+", re.I
)
_KEY_NAME = re.compile(r"\bA[KS]IA[A-Z0-9]{12,}\b")
#: A shorter value could be a part of any word.
_SHORTEST = 6
#: Variables with secrets of one's own, which are at least so long; in tests of others' they may be words.
_OWN, _LONG = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "THORAX_BUNDLE_KEY"), 16
_known: set[str] = set()


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret: WANDB_API_KEY, HF_TOKEN, MLFLOW_TRACKING_PASSWORD ..."""
    return bool(_NAME.search(name)) and not name.startswith(PREFIX)


def remember(environment: Mapping[str, str]) -> None:
    """From now on `mask` hides the values of those variables that hold secrets."""
    for name, value in environment.items():
        if is_secret(name) and isinstance(value, str) and len(value) >= _SHORTEST:
            _known.add(value)


def remember_own(environment: Mapping[str, str]) -> None:
    """The same for the secrets of this process itself: AWS's credentials, and the key of bundles' signatures."""
    remember({name: value for name in _OWN if len(value := environment.get(name, "")) >= _LONG})


def mask(text: str) -> str:
    """The text without secrets that are remembered, passwords in addresses (https://user:password@host), signatures in
    AWS's, and names of AWS's keys.
    """
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, MASK)
    text = _SIGNED.sub(rf"\1={MASK}", _IN_ADDRESS.sub(rf"\1:{MASK}@", text))
    return _KEY_NAME.sub(MASK, text)


def masked(value: Any) -> Any:
    """Requests as they are shown: every text masked, and the values of variables that hold secrets, however short."""
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(one, str) and one and _is_variable(key) else masked(one)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(one) for one in value]
    return mask(value) if isinstance(value, str) else value


def _is_variable(key: object) -> bool:
    """Whether a key is a variable with a secret; AWS's own members, such as KmsKeyId or the Key of a tag, are none."""
    return isinstance(key, str) and key.isupper() and is_secret(key)


# -- In the job --------------------------------------------------------------------------------------------------------


def resolve(environment: MutableMapping[str, str]) -> list[str]:
    """Fetches the secrets that PREFIX variables name, and sets the variables that they are for.

    A variable that is set already stays. Of JSON the member of the variable's name is taken, or the only one.

    Returns:
        Names of the variables that were set.

    Raises:
        ThoraxError: a secret cannot be read: there is none, the role may not, or there is no way to AWS.
    """
    done = []
    for key in sorted(name for name in environment if name.startswith(PREFIX)):
        name, reference = key.removeprefix(PREFIX), environment[key]
        if environment.get(name):
            continue
        environment[name] = _member(_fetched(name, reference, environment), name, reference)
        done.append(name)
    remember(environment)
    return done


def service_of(reference: str) -> tuple[str, str]:
    """("secretsmanager" or "ssm", the name or ARN there) of a reference.

    Args:
        reference: an ARN, ssm:NAME, secretsmanager:NAME, /PATH (a parameter of SSM), or a secret's name.

    Raises:
        ThoraxError: an ARN of another service, or no name.
    """
    if found := re.match(r"arn:aws[\w-]*:(\w+):", reference):
        if found[1] not in ("secretsmanager", "ssm"):
            raise ThoraxError(
                f"{reference} is an ARN of {found[1]}; give one of Secrets Manager or of a parameter of SSM"
            )
        return found[1], reference
    for service in ("secretsmanager", "ssm"):
        if reference.startswith(f"{service}:"):
            reference = reference.removeprefix(f"{service}:")
            break
    else:
        service = "ssm" if reference.startswith("/") else "secretsmanager"
    if not re.fullmatch(r"[\w/.+=@-]{1,512}", reference, re.ASCII):
        raise ThoraxError(f"{reference!r} is no name of a secret: letters, digits and / _ . + = @ - only")
    return service, reference


def _fetched(name: str, reference: str, environment: Mapping[str, str]) -> str:
    service, place = service_of(reference)
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise ThoraxError(f"secret {name}: boto3 is not installed, which fetches it; run: pip install boto3") from None
    found = re.match(r"arn:aws[\w-]*:\w+:([\w-]+):", reference)
    region = found[1] if found else environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None
    limits = Config(connect_timeout=10, read_timeout=20, retries={"total_max_attempts": 4, "mode": "standard"})
    try:
        client = boto3.client(service, region_name=region, config=limits)
        if service == "ssm":
            path = place.partition(":parameter/")[2] if place.startswith("arn:") else place
            path = f"/{path}" if place.startswith("arn:") and "/" in path else path
            return str(client.get_parameter(Name=path, WithDecryption=True)["Parameter"]["Value"])
        answer = client.get_secret_value(SecretId=place)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise ThoraxError(
            f"secret {name} ({reference}) cannot be read: {code}; is it there, in this region, and may the job's role"
            f" read it (`thorax iam execution --secret {reference}` prints the right)?"
        ) from None
    except BotoCoreError as error:
        raise ThoraxError(f"secret {name} ({reference}) cannot be read: {' '.join(str(error).split())}") from None
    if "SecretString" not in answer:
        raise ThoraxError(f"secret {name} ({reference}) holds bytes; store it as a text")
    return str(answer["SecretString"])


def _member(text: str, name: str, reference: str) -> str:
    """The secret itself, where it is stored as JSON of names and values."""
    try:
        stored = json.loads(text)
    except ValueError:
        return text.strip()
    if not isinstance(stored, dict):
        return text.strip()
    if name in stored or len(stored) == 1:
        return str(stored.get(name, next(iter(stored.values()))))
    raise ThoraxError(
        f"secret {name} ({reference}) is JSON with the members {', '.join(map(str, stored))}; call one of them {name}"
    )
