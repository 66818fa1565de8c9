"""The ASGI application: /ping, /invocations, /metadata, /metrics and the page; the same under uvicorn and under Ray.

POST /invocations (and POST /, where AWS's Ray adapter sends it) answers images; READERS and WRITERS list the content
types. Query or X-Amzn-SageMaker-Custom-Attributes: explain=true, label=NAME. Errors are {"error": one line}.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from thorax.serving.guard import SafeHeaders
from thorax.serving.limits import RequestLimiter
from thorax.serving.response import error_reply
from thorax.serving.service import Service

PAGE = Path(__file__).parent / "page"


def create_app(start: Callable[[], Service]) -> Starlette:
    """The application around the service that `start` returns when the server starts; it is closed when that stops."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.service = await asyncio.to_thread(start)
        app.state.limiter = RequestLimiter(app.state.service)
        yield
        await asyncio.to_thread(app.state.service.close)

    page = {"/" if file.name == "index.html" else f"/{file.name}": file for file in sorted(PAGE.glob("*.*"))}
    routes = [
        Route("/ping", ping),
        Route("/metadata", metadata),
        Route("/metrics", metrics),
        Route("/invocations", invocations, methods=["POST"]),
        Route("/", invocations, methods=["POST"]),
        *(Route(path, _sender(file)) for path, file in page.items()),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error},
        middleware=[Middleware(SafeHeaders)],
    )


async def ping(request: Request) -> Response:
    """200 while the model predicts, else 503 with the reason."""
    problem = await _service(request).health()
    return JSONResponse({"error": problem} if problem else {"status": "healthy"}, 503 if problem else 200)


async def metadata(request: Request) -> Response:
    """Labels, thresholds, versions, limits, content types."""
    return JSONResponse(_service(request).metadata())


async def metrics(request: Request) -> Response:
    """Counters in Prometheus' format."""
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4")


async def invocations(request: Request) -> Response:
    """The answer to the images in the body."""
    return await respond(request, _service(request), request.app.state.limiter)


async def respond(request: Request, service: Service, limiter: RequestLimiter) -> Response:
    """The answer of one of the server's services to the images in the body."""
    counters = service.metrics
    began = time.monotonic()
    reply = await limiter.admit(request)
    counters.requests.labels(reply.status).inc()
    counters.seconds.observe(time.monotonic() - began)
    headers = {"Retry-After": "1"} if reply.status in (429, 503) else {}
    if reply.status in (408, 413, 429):  # the rest of the body is not read
        headers["Connection"] = "close"
    return Response(reply.body, reply.status, headers, reply.content_type)


def _sender(file: Path) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that sends one file of the page."""

    async def send(request: Request) -> Response:
        return FileResponse(file)

    return send


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _http_error(request: Request, error: Exception) -> Response:
    """404, 405 and the like as {"error": one line}."""
    assert isinstance(error, HTTPException)
    place = f"{request.method} {request.url.path[:100]}"
    reply = error_reply(error.status_code, f"{error.detail}: {place}; images go to POST /invocations")
    return Response(reply.body, reply.status, error.headers, reply.content_type)
