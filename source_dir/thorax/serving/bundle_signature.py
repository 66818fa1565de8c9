"""The signature of a bundle: whoever has the key says that these are the files that were meant to be served.

HMAC with SHA-256 (RFC 2104) over the bytes of bundle.json, which holds the SHA-256 of every other file. The same key
signs and verifies, so it is a secret of those who make bundles and of those who serve them.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.serving.bundle_place import DESCRIPTION

SIGNATURE = "bundle.json.hmac"
#: The variable that holds the key of the bundles which this process may serve.
KEY = "THORAX_BUNDLE_KEY"
#: Bytes of a key, at least: as many as RFC 2104 advises for SHA-256.
LEAST = 32


def key_of(file: Path) -> bytes:
    """The key in a file, without white space around it.

    Raises:
        ThoraxError: it cannot be read, or is too short to be a secret.
    """
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise ThoraxError(f"the key {file} cannot be read: {error.strerror}") from None
    return checked_key(key, f"the key {file}")


def checked_key(key: bytes, what: str) -> bytes:
    """The key; raises ThoraxError where it is shorter than LEAST bytes."""
    if len(key) < LEAST:
        raise ThoraxError(
            f"{what} has {len(key)} bytes, and needs {LEAST}; make one: `openssl rand -hex 32 > FILE`, and keep it"
            " secret"
        )
    return key


def sign(folder: Path, key: bytes) -> Path:
    """Writes the signature of a bundle beside its bundle.json, and returns its file."""
    write_whole(f"{_signature(folder, key)}\n".encode(), folder / SIGNATURE, "signature")
    return folder / SIGNATURE


def wrong_signature(folder: Path, key: bytes) -> str:
    """Why a bundle is not signed with this key; "" where it is."""
    try:
        found = (folder / SIGNATURE).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return f"it is not signed: there is no {SIGNATURE}"
    except (OSError, ValueError):
        return f"{SIGNATURE} cannot be read"
    if not hmac.compare_digest(found, _signature(folder, key)):
        return f"{SIGNATURE} is of another key, or {DESCRIPTION} was changed since it was signed"
    return ""


def _signature(folder: Path, key: bytes) -> str:
    return hmac.new(key, (folder / DESCRIPTION).read_bytes(), "sha256").hexdigest()
