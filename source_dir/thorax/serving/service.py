"""A classifier at work: its batcher, the threads that read requests, its health and its counters."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import thorax
from thorax.serving import pipeline
from thorax.serving.batcher import Batcher, PendingRequest
from thorax.serving.bundle_contents import torch_version
from thorax.serving.classifier import Classifier
from thorax.serving.clients import UNKNOWN
from thorax.serving.decode_pool import DecodePool
from thorax.serving.engines.devices import has_gpu
from thorax.serving.metrics import Metrics
from thorax.serving.readers import READERS
from thorax.serving.request import RawRequest
from thorax.serving.response import Reply, columns, error_reply
from thorax.serving.settings import ServerSettings
from thorax.serving.work import Means, Work
from thorax.serving.writers import WRITERS

#: Seconds for which a good prediction counts as a sign of health; after them /ping makes one.
FRESH = 10.0
#: Seconds that /ping waits for its own prediction; SageMaker waits 2 for /ping.
PATIENCE = 1.8


class Service:
    """Answers requests from many threads. Its constructor makes a prediction, and raises where that fails."""

    def __init__(self, classifier: Classifier, settings: ServerSettings) -> None:
        settings = replace(settings, max_images=max(1, settings.max_images // classifier.cost))
        self.classifier, self.settings, self.metrics = classifier, settings, Metrics()
        self.pool = ThreadPoolExecutor(settings.max_queue, thread_name_prefix="request")
        self.means = Means(DecodePool(classifier.bundle.preprocessing, settings))
        self.batcher = Batcher(
            classifier.outputs,
            max_batch=min(settings.max_batch or classifier.largest_pass, classifier.largest_pass),
            max_wait=settings.max_wait_ms / 1000 if classifier.waits else 0.0,
            workers=max(1, settings.workers),
            on_batch=self.metrics.batch_size.observe,
        )
        self._doctor = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._checked: asyncio.Future[str] | None = None
        self.predict_once(60.0)

    @classmethod
    def start(cls, folder: Path, settings: ServerSettings, cpus: float | None = None) -> Service:
        """The service of the bundle in `folder`, on `cpus` CPUs; default: on those that are free.

        Raises:
            ThoraxError: the folder is no bundle, or a damaged one.
        """
        began = time.monotonic()
        placed = settings.placed(has_gpu(), cpus)
        classifier = Classifier.load(
            folder,
            engine=placed.engine,
            precision=placed.precision,
            threads=placed.threads,
            batch=placed.max_batch,
            passes=placed.workers,
            tta=placed.tta or None,
        )
        service = cls(classifier, placed)
        service.metrics.load_seconds.set(time.monotonic() - began)
        return service

    def answer(self, raw: RawRequest, pending: PendingRequest, client: str = UNKNOWN) -> Reply:
        """The reply to one request, whose images share forward passes with those of others."""
        work = Work.of(self.means, self.settings.timeout_s, client)

        def score(images: Any) -> np.ndarray:
            pending.arrive()
            return self.batcher.score(images, max(0.0, work.deadline - time.monotonic()), client)

        with pending:
            try:
                return pipeline.answer(self.classifier, raw, self.settings, score, work)
            except TimeoutError:
                return error_reply(503, f"no answer within {self.settings.timeout_s:g} seconds; try again later")
            except Exception as error:  # the model failed: the reasons are for the log, not for the caller
                self.metrics.log(error)
                return error_reply(500, "the model failed on this request")

    def predict_once(self, seconds: float) -> None:
        """Scores a black image before all others; raises where the model fails, TimeoutError where it takes longer than
        `seconds`."""
        self.batcher.score([np.zeros(self.classifier.bundle.preprocessing.shape, np.uint8)], seconds, None)

    async def health(self) -> str:
        """As health_problem, without waiting for other requests: at once where a prediction has succeeded a moment ago,
        else by a thread that does nothing else, which is asked once for all that wait for it."""
        if self._is_well():
            return ""
        if self._checked is None or self._checked.done():
            self._checked = asyncio.wrap_future(self._doctor.submit(self.health_problem))
        return await asyncio.shield(self._checked)

    def _is_well(self) -> bool:
        batcher = self.batcher
        fresh = not batcher.failures and time.monotonic() - batcher.last_good <= FRESH
        return fresh and not batcher.stuck(self.settings.timeout_s)

    def health_problem(self) -> str:
        """Why the service must not get requests; "" while it may. May take two seconds."""
        if self._is_well():
            return ""
        if self.batcher.stuck(self.settings.timeout_s):
            return "a forward pass does not end"
        try:
            self.predict_once(PATIENCE)
        except TimeoutError:  # a queue of good predictions is no problem
            recent = time.monotonic() - self.batcher.last_good < self.settings.timeout_s
            return "" if recent else "no prediction in time"
        except Exception as error:
            return f"the model fails: {type(error).__name__}"
        return ""

    def metadata(self) -> dict[str, Any]:
        """What a client needs to know: labels, thresholds, versions, limits, content types."""
        classifier, bundle, settings = self.classifier, self.classifier.bundle, self.settings
        limits = ("max_request_bytes", "max_images", "max_pixels", "max_queue", "timeout_s")
        return {
            "labels": list(classifier.labels),
            "classes": list(bundle.space.classes),
            "columns": list(columns(bundle.space, settings.binary_answer)),
            "task": bundle.space.task,
            "thresholds": classifier.thresholds,
            "network": bundle.network,
            "preprocessing": bundle.preprocessing.to_dict(),
            "size": [bundle.preprocessing.height, bundle.preprocessing.width],
            "model_version": classifier.version,
            "engine": classifier.engine,
            "precision": classifier.precision,
            "device": classifier.device,
            "tta": classifier.views.count,
            "ensemble": None
            if not bundle.ensemble
            else {**bundle.ensemble, "networks": [m.network for m in bundle.members]},
            "images_per_second": classifier.choice.rates,
            "optimized": bundle.engine.summary() if bundle.engine else None,
            "versions": {"thorax": thorax.__version__, "torch": torch_version(), "trained_with": bundle.versions},
            "limits": {name: getattr(settings, name) for name in limits},
            "content_types": list(READERS),
            "accepts": list(WRITERS),
            "batch": settings.max_batch or self.classifier.batch,
            "workers": settings.workers,
            "threads": settings.threads,
        }

    def close(self) -> None:
        """Answers the requests that have begun, then ends the threads."""
        self.pool.shutdown(wait=True, cancel_futures=False)
        self.means.close()
        self.batcher.close()
        self._doctor.shutdown()
