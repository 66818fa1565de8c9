"""The ASGI application of several bundles: what SageMaker asks of a container of a multi-model endpoint.

POST /models loads the bundle in a folder, GET /models lists, GET and DELETE /models/NAME show and unload one,
POST /models/NAME/invoke answers images as /invocations of app.py does. The contract is AWS's (SageMaker developer
guide: custom containers contract for multi-model endpoints): 409 for a name that is loaded, 404 for one that is not,
507 where memory is short, whereupon SageMaker unloads another and asks again. In an image of your own:
`uvicorn --factory thorax.serving.multi_app:application --host 0.0.0.0 --port 8080`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thorax.errors import ThoraxError
from thorax.machine import available_memory
from thorax.serving.app import respond
from thorax.serving.guard import SafeHeaders
from thorax.serving.limits import RequestLimiter
from thorax.serving.response import error_reply
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings

#: Memory that a bundle needs to load, as a multiple of its files: they are read, checked, and made into a network.
LOADING = 3


@dataclass(frozen=True)
class Loaded:
    """A bundle at work: the folder that it came from, its service, what it admits."""

    folder: str
    service: Service
    limiter: RequestLimiter

    def described(self, name: str) -> dict[str, str]:
        return {"modelName": name, "modelUrl": self.folder}


class Models:
    """The bundles of one server, by name.

    Attributes:
        loaded: those that answer.
    """

    def __init__(self, start: Callable[[Path], Service]) -> None:
        self.loaded: dict[str, Loaded] = {}
        self._start, self._loading = start, asyncio.Lock()

    async def load(self, name: str, folder: str) -> Response:
        """Loads the bundle in a folder; one at a time."""
        async with self._loading:
            if name in self.loaded:
                return _error(409, f"{name} is loaded already")
            if (problem := await asyncio.to_thread(_no_room, Path(folder))) is not None:
                return _error(507, problem)
            try:
                service = await asyncio.to_thread(self._start, Path(folder))
            except ThoraxError as error:
                return _error(400, str(error))
            except MemoryError:
                return _error(507, f"no memory for {name}")
            self.loaded[name] = Loaded(folder, service, RequestLimiter(service))
        return JSONResponse(self.loaded[name].described(name))

    async def unload(self, name: str) -> Response:
        """Takes a bundle out, once the requests that it has begun are answered."""
        gone = self.loaded.pop(name)
        await asyncio.to_thread(gone.service.close)
        return JSONResponse(gone.described(name))

    async def close(self) -> None:
        """Unloads all."""
        for name in list(self.loaded):
            await self.unload(name)


def create_multi_app(start: Callable[[Path], Service], bundles: Mapping[str, Path] | None = None) -> Starlette:
    """The application of several bundles.

    Args:
        start: makes the service of the bundle in a folder.
        bundles: name -> folder: these alone, loaded when the server starts. None: none at first, and callers load and
            unload them, as SageMaker does.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.models = models = Models(start)
        for name, folder in (bundles or {}).items():
            answered = await models.load(name, str(folder))
            if answered.status_code != 200:
                raise ThoraxError(f"{name}: {json.loads(bytes(answered.body))['error']}")
        yield
        await models.close()

    routes = [
        Route("/ping", ping),
        Route("/models", list_models),
        Route("/models/{name}", show),
        Route("/models/{name}/invoke", invoke, methods=["POST"]),
    ]
    if bundles is None:
        routes = [
            Route("/models", load, methods=["POST"]),
            Route("/models/{name}", unload, methods=["DELETE"]),
            *routes,
        ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error},
        middleware=[Middleware(SafeHeaders)],
    )


def application() -> Starlette:
    """The application with the settings of the environment, without a bundle at first."""
    settings = ServerSettings.from_environment()
    return create_multi_app(lambda folder: Service.start(folder, settings))


async def ping(request: Request) -> Response:
    """200: the server is up, with or without bundles; one whose model fails is named in the body."""
    found = dict(_models(request).loaded)
    problems = await asyncio.gather(*(one.service.health() for one in found.values()))
    failing = {name: problem for name, problem in zip(found, problems, strict=True) if problem}
    return JSONResponse({"status": "healthy", **({"failing": failing} if failing else {})})


async def list_models(request: Request) -> Response:
    """The loaded bundles."""
    return JSONResponse({"models": [one.described(name) for name, one in _models(request).loaded.items()]})


async def load(request: Request) -> Response:
    """{"model_name": NAME, "url": FOLDER}: loads it."""
    try:
        asked: Any = json.loads(await request.body())
        name, folder = str(asked["model_name"]), str(asked["url"])
    except (ValueError, KeyError, TypeError):
        return _error(400, 'give {"model_name": NAME, "url": FOLDER}')
    return await _models(request).load(name, folder)


async def show(request: Request) -> Response:
    """One bundle, and what a client needs to know of it."""
    if (one := _models(request).loaded.get(name := request.path_params["name"])) is None:
        return _not_loaded(request)
    return JSONResponse({**one.described(name), "metadata": one.service.metadata()})


async def unload(request: Request) -> Response:
    """Takes it out of memory."""
    name = request.path_params["name"]
    return await _models(request).unload(name) if name in _models(request).loaded else _not_loaded(request)


async def invoke(request: Request) -> Response:
    """The answer to the images in the body."""
    one = _models(request).loaded.get(request.path_params["name"])
    return _not_loaded(request) if one is None else await respond(request, one.service, one.limiter)


def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


async def _http_error(request: Request, error: Exception) -> Response:
    """404, 405 and the like as {"error": one line}."""
    assert isinstance(error, HTTPException)
    place = f"{request.method} {request.url.path[:100]}"
    return _error(error.status_code, f"{error.detail}: {place}; images go to POST /models/NAME/invoke")


def _not_loaded(request: Request) -> Response:
    known = ", ".join(_models(request).loaded) or "none"
    return _error(404, f"{request.path_params['name']} is not loaded; loaded are: {known}")


def _error(status: int, text: str) -> Response:
    reply = error_reply(status, text)
    return Response(reply.body, reply.status, media_type=reply.content_type)


def _no_room(folder: Path) -> str | None:
    """Why there is no memory for the bundle in a folder; None where there is, or nothing is known."""
    need = LOADING * sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    free = available_memory()
    if free is None or need <= free:
        return None
    return f"it needs {need // 2**20:,} MB of memory to load, and {free // 2**20:,} MB are free"
