"""What a model's server responds, wherever it comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Response:
    """A response as over HTTP, wherever it comes from.

    Attributes:
        status: HTTP's.
        body: its bytes.
        retry_after: seconds to wait where the server is busy.
    """

    status: int
    body: bytes
    retry_after: float = 1.0

    @property
    def error(self) -> str:
        """Its message, where it is an error."""
        try:
            return str(json.loads(self.body)["error"])
        except (ValueError, KeyError, TypeError):
            return f"the server answered {self.status}"


def error_response(status: int, message: str) -> Response:
    """A response with {"error": message}."""
    return Response(status, json.dumps({"error": message}).encode())
