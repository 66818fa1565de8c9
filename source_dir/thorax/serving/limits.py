"""How many requests, and how many bytes of them, a server works on at once."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from thorax.serving.batcher import PendingRequest
from thorax.serving.request import RawRequest, RequestError, ResponseOptions, body_too_large
from thorax.serving.response import Reply, error_reply
from thorax.serving.service import Service

_NO_ROOM = "{} requests are being answered or wait, more than this server takes; try again later"
_NO_BODIES = "{} requests are on their way here, more than this server waits for; try again later"
_NO_MEMORY = "the requests being answered fill this server's memory; try again later"

#: Bodies on their way, for each request that may be worked on.
_BODIES = 16
#: A body's least rate in bytes a second, and the seconds before it counts.
RATE, GRACE = 4096, 10.0


class RequestLimiter:
    """Reads and answers requests while there is room for them and their bytes; refuses others with 408, 413 or 429.

    A request whose body has not arrived does not count as worked on: slow callers take no room from others.

    Attributes:
        requests: requests that are worked on or wait, at most `max_queue`.
        bodies: requests whose body is on its way, at most 16 times as many.
        bytes: bytes of all bodies, at most eight times `max_request_bytes`.
    """

    def __init__(self, service: Service) -> None:
        self.service, self.settings = service, service.settings
        self.requests = self.bodies = self.bytes = 0
        self._max_bytes = 8 * self.settings.max_request_bytes

    async def admit(self, request: Request) -> Reply:
        """The reply to a request, of whatever status."""
        if self.requests >= self.settings.max_queue:
            return error_reply(429, _NO_ROOM.format(self.requests))
        body = bytearray()
        try:
            await self._receive(request, body)
            return await self._work(request, body)
        except RequestError as error:
            return error_reply(error.status, str(error))
        except ClientDisconnect:
            return error_reply(400, "the caller went away before the body was whole")
        finally:
            self.bytes -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> None:
        """Reads the whole body into `body`, at no less than the least rate.

        Raises:
            RequestError: 408, 413 or 429.
        """
        if self.bodies >= _BODIES * self.settings.max_queue:
            raise RequestError(429, _NO_BODIES.format(self.bodies))
        self.bodies += 1
        try:
            async with asyncio.timeout(min(GRACE, self.settings.timeout_s)) as limit:
                await self._read(request, body, limit)
        except TimeoutError:
            raise RequestError(
                408, f"the body did not arrive within {self.settings.timeout_s:g} seconds, or at {RATE} bytes a second"
            ) from None
        finally:
            self.bodies -= 1

    async def _work(self, request: Request, body: bytearray) -> Reply:
        if self.requests >= self.settings.max_queue:
            raise RequestError(429, _NO_ROOM.format(self.requests))
        self._count(1)
        try:
            with self.service.batcher.expect() as pending:
                return await self._answer(request, body, pending)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.requests += change
        self.service.metrics.in_flight.set(self.requests)

    async def _answer(self, request: Request, body: bytearray, pending: PendingRequest) -> Reply:
        seconds, headers = self.settings.timeout_s, request.headers
        options = ResponseOptions.of(request.url.query, headers.get("x-amzn-sagemaker-custom-attributes", ""))
        raw = RawRequest(bytes(body), headers.get("content-type"), headers.get("accept"), options)
        work = asyncio.get_running_loop().run_in_executor(self.service.pool, self.service.answer, raw, pending)
        try:
            return await asyncio.wait_for(asyncio.shield(work), seconds + 1)
        except TimeoutError:
            raise RequestError(503, f"no answer within {seconds:g} seconds; try again later") from None

    async def _read(self, request: Request, body: bytearray, limit: asyncio.Timeout) -> None:
        """Reads the whole body into `body`, unless it, or all bodies together, are too large."""
        began, last = asyncio.get_running_loop().time(), self.settings.timeout_s
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.settings.max_request_bytes:
            raise body_too_large(self.settings)
        async for chunk in request.stream():
            self.bytes += len(chunk)
            body += chunk
            limit.reschedule(began + min(last, GRACE + len(body) / RATE))
            if len(body) > self.settings.max_request_bytes:
                raise body_too_large(self.settings)
            if self.bytes > self._max_bytes:
                raise RequestError(429, _NO_MEMORY)
