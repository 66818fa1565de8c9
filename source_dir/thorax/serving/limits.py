"""How many requests, and how many bytes of them, a server works on at once."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from thorax.serving.batcher import PendingRequest
from thorax.serving.request import RawRequest, RequestError, ResponseOptions, body_too_large
from thorax.serving.response import Reply, error_reply
from thorax.serving.service import Service

_NO_ROOM = "{} requests are being answered or wait, more than this server takes; try again later"
_NO_MEMORY = "the requests being answered fill this server's memory; try again later"


class RequestLimiter:
    """Reads and answers requests while there is room for them and their bytes; refuses others with 408, 413 or 429.

    Attributes:
        requests: requests that are worked on or wait, at most `max_queue`.
        bytes: bytes of their bodies, at most eight times `max_request_bytes`.
    """

    def __init__(self, service: Service) -> None:
        self.service, self.settings = service, service.settings
        self.requests = self.bytes = 0
        self._max_bytes = 8 * self.settings.max_request_bytes

    async def admit(self, request: Request) -> Reply:
        """The reply to a request, of whatever status."""
        if self.requests >= self.settings.max_queue:
            return error_reply(429, _NO_ROOM.format(self.requests))
        self._count(1)
        body = bytearray()
        try:
            with self.service.batcher.expect() as pending:
                return await self._answer(request, body, pending)
        except RequestError as error:
            return error_reply(error.status, str(error))
        except ClientDisconnect:
            return error_reply(400, "the caller went away before the body was whole")
        finally:
            self.bytes -= len(body)
            self._count(-1)

    def _count(self, change: int) -> None:
        self.requests += change
        self.service.metrics.in_flight.set(self.requests)

    async def _answer(self, request: Request, body: bytearray, pending: PendingRequest) -> Reply:
        seconds, headers = self.settings.timeout_s, request.headers
        try:
            async with asyncio.timeout(seconds):
                await self._read(request, body)
        except TimeoutError:
            raise RequestError(408, f"the body did not arrive within {seconds:g} seconds") from None
        options = ResponseOptions.of(request.url.query, headers.get("x-amzn-sagemaker-custom-attributes", ""))
        raw = RawRequest(bytes(body), headers.get("content-type"), headers.get("accept"), options)
        work = asyncio.get_running_loop().run_in_executor(self.service.pool, self.service.answer, raw, pending)
        try:
            return await asyncio.wait_for(asyncio.shield(work), seconds + 1)
        except TimeoutError:
            raise RequestError(503, f"no answer within {seconds:g} seconds; try again later") from None

    async def _read(self, request: Request, body: bytearray) -> None:
        """Reads the whole body into `body`, unless it, or all bodies together, are too large."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.settings.max_request_bytes:
            raise body_too_large(self.settings)
        async for chunk in request.stream():
            self.bytes += len(chunk)
            body += chunk
            if len(body) > self.settings.max_request_bytes:
                raise body_too_large(self.settings)
            if self.bytes > self._max_bytes:
                raise RequestError(429, _NO_MEMORY)
