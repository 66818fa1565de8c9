"""The ASGI application: /ping, /invocations, /metadata, /metrics and the page. It serves under uvicorn and under Ray
alike.

POST /invocations (and POST /, where AWS's Ray adapter sends it) answers images; see content.py and writers.py for the
forms.
Query or X-Amzn-SageMaker-Custom-Attributes: explain=true, label=NAME. Errors are {"error": one line}.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from thorax.serving.batcher import PendingRequest
from thorax.serving.pipeline import refusal
from thorax.serving.readers import RequestError, ResponseOptions, too_large
from thorax.serving.service import Service
from thorax.serving.writers import Reply

PAGE = Path(__file__).parent / "page"


def create_app(start: Callable[[], Service]) -> Starlette:
    """The application around the service that `start` gives when the server starts up; it is closed when that stops."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.service = await asyncio.to_thread(start)
        app.state.door = RequestLimiter(app.state.service)
        yield
        await asyncio.to_thread(app.state.service.close)

    routes = [
        Route("/ping", ping),
        Route("/metadata", metadata),
        Route("/metrics", metrics),
        Route("/invocations", invocations, methods=["POST"]),
        Route("/", invocations, methods=["POST"]),
        *(
            Route("/" if file.name == "index.html" else f"/{file.name}", _file(file))
            for file in sorted(PAGE.glob("*.*"))
        ),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _told})


async def ping(request: Request) -> Response:
    """200 while the model predicts, else 503 and why not."""
    ailment = await asyncio.to_thread(_service(request).ailment)
    return JSONResponse({"error": ailment} if ailment else {"status": "healthy"}, 503 if ailment else 200)


async def metadata(request: Request) -> Response:
    """Labels, thresholds, versions, limits."""
    return JSONResponse(_service(request).metadata())


async def metrics(request: Request) -> Response:
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4")


async def invocations(request: Request) -> Response:
    door: RequestLimiter = request.app.state.door
    began = time.monotonic()
    reply = await door.admit(request)
    door.service.metrics.requests.labels(reply.status).inc()
    door.service.metrics.seconds.observe(time.monotonic() - began)
    headers = {"Retry-After": "1"} if reply.status in (429, 503) else {}
    if reply.status in (408, 413, 429):  # what is left of the body is not read
        headers["Connection"] = "close"
    return Response(reply.body, reply.status, headers, reply.content_type)


class RequestLimiter:
    """Lets requests in while there is room for them and their bytes."""

    def __init__(self, service: Service) -> None:
        self.service, self.settings = service, service.settings
        self.requests = self.bytes = 0
        self._most_bytes = 8 * self.settings.max_request_bytes

    async def admit(self, request: Request) -> Reply:
        if self.requests >= self.settings.max_queue:
            return refusal(
                429,
                f"{self.requests} requests are being answered or wait, more than this server takes; try again later",
            )
        self.requests += 1
        self.service.metrics.in_flight.set(self.requests)
        read = bytearray()
        try:
            with self.service.batcher.expect() as ticket:
                return await self._answer(request, read, ticket)
        except RequestError as error:
            return refusal(error.status, str(error))
        except ClientDisconnect:
            return refusal(400, "the caller went away before the body was whole")
        finally:
            self.requests -= 1
            self.bytes -= len(read)
            self.service.metrics.in_flight.set(self.requests)

    async def _answer(self, request: Request, read: bytearray, ticket: PendingRequest) -> Reply:
        settings, headers = self.settings, request.headers
        try:
            async with asyncio.timeout(settings.timeout_s):
                await self._read(request, read)
        except TimeoutError:
            raise RequestError(408, f"the body did not arrive within {settings.timeout_s:g} seconds") from None
        options = ResponseOptions.of(request.url.query, headers.get("x-amzn-sagemaker-custom-attributes", ""))
        work = asyncio.get_running_loop().run_in_executor(
            self.service.pool,
            self.service.answer,
            bytes(read),
            headers.get("content-type"),
            headers.get("accept"),
            options,
            ticket,
        )
        try:
            return await asyncio.wait_for(asyncio.shield(work), settings.timeout_s + 1)
        except TimeoutError:
            raise RequestError(503, f"no answer within {settings.timeout_s:g} seconds; try again later") from None

    async def _read(self, request: Request, read: bytearray) -> None:
        """The whole body, as long as it and all bodies together are not too large."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.settings.max_request_bytes:
            raise too_large(self.settings)
        async for chunk in request.stream():
            self.bytes += len(chunk)
            read += chunk
            if len(read) > self.settings.max_request_bytes:
                raise too_large(self.settings)
            if self.bytes > self._most_bytes:
                raise RequestError(429, "the requests being answered fill this server's memory; try again later")


def _file(file: Path) -> Callable[[Request], Awaitable[Response]]:
    """Gives one file of the page."""

    async def give(request: Request) -> Response:
        return FileResponse(file)

    return give


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _told(request: Request, error: Exception) -> Response:
    """404, 405 and the like in our form."""
    assert isinstance(error, HTTPException)
    reply = refusal(
        error.status_code, f"{error.detail}: {request.method} {request.url.path[:100]}; images go to POST /invocations"
    )
    return Response(reply.body, reply.status, error.headers, reply.content_type)
