"""A classifier at work: its batcher, the threads that read requests, its health and its counters."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

import thorax
from thorax.serving import pipeline as answers
from thorax.serving.batcher import Batcher, PendingRequest
from thorax.serving.classifier import Classifier
from thorax.serving.metrics import Metrics
from thorax.serving.pipeline import refusal
from thorax.serving.readers import INPUTS, ResponseOptions
from thorax.serving.settings import ServerSettings
from thorax.serving.writers import OUTPUTS, Reply

#: A prediction that is no older than this says that the model works; else /ping makes one.
FRESH = 10.0
#: Seconds that /ping waits for its own prediction; SageMaker waits 2 for /ping.
PATIENCE = 1.8


class Service:
    """Answers requests from many threads. It has made a prediction before its constructor returns."""

    def __init__(self, classifier: Classifier, settings: ServerSettings) -> None:
        self.classifier, self.settings, self.metrics = classifier, settings, Metrics()
        self.pool = ThreadPoolExecutor(settings.max_queue, thread_name_prefix="request")
        self.batcher = Batcher(
            classifier.score,
            max_batch=settings.max_batch,
            max_wait=settings.max_wait_ms / 1000,
            workers=max(1, settings.workers),
            on_batch=self.metrics.batch_size.observe,
        )
        self._checking = threading.Lock()
        self.predict_once(60.0)

    @classmethod
    def start(cls, folder: Path, settings: ServerSettings, cpus: float | None = None) -> Service:
        """The service of the bundle in `folder`.

        Raises:
            ThoraxError: the folder is no bundle, or a damaged one.
        """
        began = time.monotonic()
        placed = settings.placed(torch.cuda.is_available(), cpus)
        service = cls(
            Classifier.load(folder, precision=placed.precision, threads=placed.threads, batch=placed.max_batch), placed
        )
        service.metrics.load_seconds.set(time.monotonic() - began)
        return service

    def answer(
        self,
        body: bytes,
        content_type: str | None,
        accept: str | None,
        options: ResponseOptions,
        ticket: PendingRequest,
    ) -> Reply:
        """One request, whose images share forward passes with those of others."""

        def score(images: Any) -> np.ndarray:
            ticket.arrive()
            return self.batcher.score(images, self.settings.timeout_s)

        with ticket:
            try:
                return answers.answer(
                    self.classifier, body, content_type, accept, options=options, settings=self.settings, score=score
                )
            except TimeoutError:
                return refusal(503, f"no answer within {self.settings.timeout_s:g} seconds; try again later")
            except Exception as error:  # the model failed: told without its reasons, which are for the log
                self.metrics.log(error)
                return refusal(500, "the model failed on this request")

    def predict_once(self, patience: float) -> None:
        """Raises where the model fails, or takes longer than `patience` seconds."""
        prepared = self.classifier.bundle.preprocessing
        self.batcher.score([np.zeros((prepared.height, prepared.width), np.uint8)], patience)

    def ailment(self) -> str:
        """Why the service must not get requests; "" while it may. May take two seconds."""
        if self.batcher.stuck(self.settings.timeout_s):
            return "a forward pass does not end"
        with self._checking:
            if self.batcher.failures or time.monotonic() - self.batcher.last_good > FRESH:
                try:
                    self.predict_once(PATIENCE)
                except TimeoutError:
                    return (
                        ""
                        if time.monotonic() - self.batcher.last_good < self.settings.timeout_s
                        else "no prediction in time"
                    )
                except Exception as error:
                    return f"the model fails: {type(error).__name__}"
        return ""

    def metadata(self) -> dict[str, Any]:
        """What a client needs to know: labels, thresholds, versions, limits."""
        classifier, settings = self.classifier, self.settings
        space, prepared = classifier.bundle.space, classifier.bundle.preprocessing
        return {
            "labels": list(classifier.labels),
            "classes": list(space.classes),
            "task": space.task,
            "thresholds": classifier.thresholds,
            "network": classifier.bundle.network,
            "preprocessing": prepared.to_dict(),
            "size": [prepared.height, prepared.width],
            "model_version": classifier.version,
            "precision": classifier.precision,
            "device": classifier.device.type,
            "versions": {
                "thorax": thorax.__version__,
                "torch": torch.__version__,
                "trained_with": classifier.bundle.about.get("versions"),
            },
            "limits": {
                name: getattr(settings, name)
                for name in ("max_request_bytes", "max_images", "max_pixels", "max_queue", "timeout_s")
            },
            "content_types": list(INPUTS),
            "accepts": list(OUTPUTS),
            "batch": settings.max_batch,
            "workers": settings.workers,
            "threads": settings.threads,
        }

    def close(self) -> None:
        """Ends what has begun, then the threads."""
        self.pool.shutdown(wait=True, cancel_futures=False)
        self.batcher.close()
