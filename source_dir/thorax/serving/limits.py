"""How many requests, and how many bytes of them, a server works on at once."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from starlette.requests import ClientDisconnect, Request

from thorax.serving.clients import UNKNOWN, Clients, Shares
from thorax.serving.request import RawRequest, RequestError, ResponseOptions, body_too_large
from thorax.serving.response import Reply, error_reply
from thorax.serving.service import Service

_NO_ROOM = "{} requests are being answered or wait, more than this server takes; try again later"
_NO_BODIES = "{} requests are on their way here, more than this server waits for; try again later"
_NO_MEMORY = "the requests being answered fill this server's memory; try again later"

_NO_SHARE = "{} of your requests are being answered or wait, as many as one client may have; try again later"
#: Bodies on their way, for each request that may be worked on, and in all: fewer than the connections of a server.
BODIES, MOST_BODIES = 16, 500
#: A body's least rate in bytes a second, and the seconds before it counts.
RATE, GRACE = 4096, 10.0


class RequestLimiter:
    """Reads and answers requests while there is room for them and their bytes; refuses others with 408, 413 or 429.

    A request whose body has not arrived does not count as worked on: slow callers take no room from others. One client
    takes no more than its share of anything (see Shares), except in a batch job, where all is one client's.

    Attributes:
        requests: requests that are worked on or wait, at most `max_queue`. One that was given up counts until its work
            has ended.
        bodies: requests whose body is on its way, at most 16 times as many.
        bytes: bytes of all bodies, at most eight times `max_request_bytes`.
    """

    def __init__(self, service: Service) -> None:
        self.service, self.settings = service, service.settings
        self.clients = Clients(self.settings.proxies)
        self.requests = Shares(self.settings.max_queue)
        self.bodies = Shares(min(MOST_BODIES, BODIES * self.settings.max_queue))
        self.bytes = Shares(8 * self.settings.max_request_bytes)

    async def admit(self, request: Request) -> Reply:
        """The reply to a request, of whatever status."""
        client = UNKNOWN if self.settings.batch_job else self.clients.of(request.scope)
        body = _Body(self.bytes, client)
        try:
            if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
                raise RequestError(415, "a body with a content encoding is not read; send it as it is")
            if self.requests.full(client):
                raise self._no_room(client)
            await self._receive(request, body)
            if not self.requests.take(client):
                raise self._no_room(client)
            return await self._answer(request, body, client)
        except RequestError as error:
            return error_reply(error.status, str(error))
        except ClientDisconnect:
            return error_reply(400, "the caller went away before the body was whole")
        finally:
            body.release()

    def _no_room(self, client: str) -> RequestError:
        if self.requests.used >= self.requests.limit:
            return RequestError(429, _NO_ROOM.format(round(self.requests.used)))
        return RequestError(429, _NO_SHARE.format(round(self.requests.held(client))))

    async def _receive(self, request: Request, body: _Body) -> None:
        """Reads the whole body into `body`, at no less than the least rate.

        Raises:
            RequestError: 408, 413 or 429.
        """
        if not self.bodies.take(body.client):
            held = self.bodies.used if self.bodies.used >= self.bodies.limit else self.bodies.held(body.client)
            raise RequestError(429, _NO_BODIES.format(round(held)))
        try:
            async with asyncio.timeout(min(GRACE, self.settings.timeout_s)) as limit:
                await self._read(request, body, limit)
        except TimeoutError:
            raise RequestError(
                408, f"the body did not arrive within {self.settings.timeout_s:g} seconds, or at {RATE} bytes a second"
            ) from None
        finally:
            self.bodies.give(body.client)

    async def _answer(self, request: Request, body: _Body, client: str) -> Reply:
        """The reply to a request that has been let in; it is out when its work has ended, also after a time limit."""
        pending = self.service.batcher.expect()
        try:
            headers, seconds = request.headers, self.settings.timeout_s
            options = ResponseOptions.of(request.url.query, headers.get("x-amzn-sagemaker-custom-attributes", ""))
            raw = RawRequest(body.whole(), headers.get("content-type"), headers.get("accept"), options)
            work = self.service.pool.submit(self.service.answer, raw, pending, client)
        except BaseException:
            pending.arrive()
            self.requests.give(client)
            raise
        self._count()

        def ended(work: Future[Reply]) -> None:
            pending.arrive()
            self.requests.give(client)
            self._count()

        work.add_done_callback(ended)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(work)), seconds + 1)
        except TimeoutError:
            raise RequestError(503, f"no answer within {seconds:g} seconds; try again later") from None

    def _count(self) -> None:
        self.service.metrics.in_flight.set(self.requests.used)

    async def _read(self, request: Request, body: _Body, limit: asyncio.Timeout) -> None:
        """Reads the whole body into `body`, unless it, or all bodies together, are too large."""
        began, last = asyncio.get_running_loop().time(), self.settings.timeout_s
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.settings.max_request_bytes:
            raise body_too_large(self.settings)
        async for chunk in request.stream():
            body.add(chunk)
            limit.reschedule(began + min(last, GRACE + len(body) / RATE))
            if len(body) > self.settings.max_request_bytes:
                raise body_too_large(self.settings)


class _Body:
    """The bytes of one request so far, on its client's account."""

    def __init__(self, account: Shares, client: str) -> None:
        self.client, self._account, self._held, self._bytes = client, account, 0, bytearray()

    def __len__(self) -> int:
        return len(self._bytes)

    def add(self, chunk: bytes) -> None:
        """Adds what has arrived; raises RequestError, 429, where there is no memory for it."""
        if not self._account.take(self.client, len(chunk)):
            raise RequestError(429, _NO_MEMORY)
        self._held += len(chunk)
        self._bytes += chunk

    def whole(self) -> bytes:
        """All of them, once."""
        found = bytes(self._bytes)
        self._bytes.clear()
        return found

    def release(self) -> None:
        """They are needed no more."""
        self._account.give(self.client, self._held)
        self._held = 0
