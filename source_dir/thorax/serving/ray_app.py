"""The Ray Serve application of a bundle: the same app, in as many replicas as the settings say.

AWS's Ray image finds it by config.yaml at the top of the bundle, as `app` in source_dir/deployment.py; its adapter
sends POST /invocations on as POST /.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ray import serve
from starlette.applications import Starlette

from thorax.serving.app import create_app
from thorax.serving.engines.devices import has_gpu
from thorax.serving.service import Service
from thorax.serving.settings import Replicas, ServerSettings, bundle_folder

#: The bundle whose code/ holds this package.
BUNDLE = Path(__file__).parents[3]


@cache
def service() -> Service:
    """This replica's service, on its share of the CPUs."""
    return Service.start(bundle_folder(BUNDLE), ServerSettings.from_environment(), Replicas.from_environment().cpus)


def build() -> Starlette:
    """The app of this replica, which starts the service when it starts."""
    return create_app(service)


@serve.ingress(build)
class Thorax:
    """One replica. Ray starts it anew when the model fails."""

    async def check_health(self) -> None:
        """Raises RuntimeError while the service must not get requests."""
        if problem := await service().health():
            raise RuntimeError(problem)


def application() -> Any:
    """The application that Ray Serve runs.

    Raises:
        ThoraxError: a setting that does not fit.
    """
    wanted, settings = Replicas.from_environment(), ServerSettings.from_environment().without_guard("Ray Serve")
    gpus = wanted.gpus if wanted.gpus >= 0 else float(has_gpu())
    resources: dict[str, Any] = {"num_cpus": wanted.cpus, "num_gpus": gpus}
    if wanted.gpus == 0:  # Ray does not hide GPUs from a replica that asked for none
        resources["runtime_env"] = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
    scale: dict[str, Any] = {"num_replicas": wanted.replicas}
    if wanted.max_replicas > wanted.replicas:
        scale = {
            "autoscaling_config": {
                "min_replicas": wanted.replicas,
                "max_replicas": wanted.max_replicas,
                "target_ongoing_requests": settings.placed(gpus > 0).max_batch,
            }
        }
    return serve.deployment(
        name="Thorax",
        ray_actor_options=resources,
        max_ongoing_requests=settings.max_queue,
        graceful_shutdown_timeout_s=settings.drain_s,
        health_check_timeout_s=30,
        **scale,
    )(Thorax).bind()
