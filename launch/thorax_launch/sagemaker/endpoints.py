"""Endpoints on SageMaker: put a bundle behind one, ask it about images, delete it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thorax_launch.clients import EndpointClient, predict_all
from thorax_launch.options import EndpointOptions, chosen
from thorax_launch.sagemaker import deletion, deployment, figures, packages, promotion, traffic
from thorax_launch.sagemaker.account import completed
from thorax_launch.sagemaker.errors import if_there, one_line_errors
from thorax_launch.sagemaker.figures import EndpointFigures
from thorax_launch.sagemaker.handles import Handle
from thorax_launch.settings import AwsSettings


class Endpoint(Handle):
    """An endpoint on SageMaker, billed by the hour until it is deleted; a `with` block deletes it at its end.

    Examples:
        >>> with sagemaker.deploy(job.bundle, "chest", instance_type="ml.m5.large") as endpoint:
        ...     endpoint.predict(["a.png", "b.dcm"])[0]["predicted"]
        'PNEUMONIA'
        >>> sagemaker.Endpoint("chest").delete()
    """

    resource = "Endpoint"

    def predict(
        self, images: Iterable[str | Path | bytes], target: str = "", variant: str = ""
    ) -> list[dict[str, Any]]:
        """The answer about each image: labels, probabilities, thresholds, decisions, predicted, warnings.

        Args:
            images: files, or their content.
            target: name of the bundle to ask, where the endpoint has several.
            variant: name of the variant to ask; "": by the weights.

        Raises:
            ThoraxError: an image cannot be read, the model refuses it (with its reason), or AWS refuses.
        """
        self.check_sent()
        return predict_all(EndpointClient(self.name, self.session, target, variant), images)

    def figures(self, hours: float = 24) -> EndpointFigures:
        """What each of its variants did in the last hours: requests, errors, latency, by CloudWatch; `.variants`.

        Raises:
            ThoraxError: there is no such endpoint, or AWS refuses.
        """
        self.check_sent()
        return figures.figures(self.name, self.settings, hours)

    def set_weights(self, weights: Mapping[str, float], bake_minutes: int = 0) -> None:
        """Divides its requests anew among its variants; returns once each of them has answered an image.

        Args:
            weights: variant -> weight; variants that are not named keep theirs.
            bake_minutes: answers of 5xx in so many minutes after it take it back.

        Raises:
            ThoraxError: no such variant, a variant that does not answer, or AWS refuses; the weights are as before.
        """
        self.check_sent()
        text = ",".join(f"{name}={weight}" for name, weight in weights.items())
        traffic.make(traffic.plan(self.name, text, self.settings, bake_minutes), self.settings)

    def promote_shadow(self, **options: Any) -> None:
        """Its shadow variant's bundle answers from now on; returns once it does.

        Args:
            options: canary, linear, rolling, bake_minutes, alarm.

        Raises:
            ThoraxError: it has no shadow, or the update failed; it is as before then.
        """
        self.check_sent()
        name = f"{promotion.PREFIX}{self.name}"
        if plan := promotion.plan(name, chosen(EndpointOptions, options), self.settings):
            promotion.make(plan, self.settings)

    def delete(self) -> None:
        """Deletes autoscaling, endpoint, configuration and model; S3 keeps its files.

        Raises:
            ThoraxError: there is no such endpoint, or AWS refuses.
        """
        self.check_sent()
        deletion.delete_all(deletion.endpoint_parts(self.name, self.settings), self.settings)

    def exists(self) -> bool:
        """Whether there is one of that name. Raises ThoraxError: AWS refuses."""
        with one_line_errors(self.settings):
            return bool(if_there(lambda: self.sagemaker.describe_endpoint(EndpointName=self.name)))

    def end(self) -> None:
        """Deletes it, unless it is gone already."""
        if self.exists():
            self.delete()


def deploy(
    bundle: str | Path | Sequence[str | Path],
    endpoint_name: str = "",
    *,
    settings: AwsSettings | None = None,
    dry_run: bool = False,
    **options: Any,
) -> Endpoint:
    """Puts a bundle behind an endpoint, without a question; returns once it has answered an image.

    An endpoint of that name is updated. What fails is taken back: nothing is left running.

    Args:
        bundle: the model folder of a finished job, its model.tar.gz, or s3://.../model.tar.gz; or
            registry:GROUP[/VERSION], an approved bundle of the model registry; several, or "NAME=BUNDLE", for a
            multi-model endpoint, whose bundles are asked by name; () with variant={...}.
        endpoint_name: default: the name of the bundle's job.
        settings: None: see load_settings; empty region, role and bucket are those of the AWS session.
        dry_run: send nothing and ask nothing of AWS: `.request` is what would be sent, by call.
        options: the flags of `thorax deploy`, with _ for -: instance_type, instance_count, serverless, asynchronous,
            memory_mb, concurrency, capture, autoscale ("1,4"), autoscale_target, register, image,
            ami, env (a mapping), startup_minutes, download_minutes, provisioned, success_topic, error_topic, canary,
            linear, rolling, bake_minutes, alarm, shadow ("BUNDLE:PERCENT"), variant ({"NAME": "BUNDLE:WEIGHT"}).

    Raises:
        ThoraxError: no bundle, what AWS would refuse, or the endpoint does not answer, in one line.

    Examples:
        >>> endpoint = sagemaker.deploy("runs/first/model", "chest", serverless=True)
        >>> endpoint.predict(["a.png"])[0]["probabilities"]
        [0.07, 0.93]
    """
    wanted = chosen(EndpointOptions, {**options, "endpoint_name": endpoint_name})
    complete = completed(settings, offline=dry_run)
    texts = [str(bundle)] if isinstance(bundle, str | Path) else [str(one) for one in bundle]
    plan = deployment.plan(*packages.all_resolved(texts, wanted, complete, dry_run), complete, dry_run)
    if not dry_run:
        deployment.make(plan, deployment.present_configuration(plan))
    return Endpoint(plan.spec.endpoint_name, plan.settings, request=plan.calls(), sent=not dry_run)
