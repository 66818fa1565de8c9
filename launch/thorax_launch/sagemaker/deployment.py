"""From a bundle to an endpoint that answers: planned, made, waited for, tried with an image.

Taken back where any of it fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thorax.errors import ThoraxError
from thorax.serving.bundle import Bundle
from thorax.text import counted
from thorax_launch.invocation import command
from thorax_launch.names import LONGEST, clean, dated, named_bundle
from thorax_launch.options import EndpointOptions
from thorax_launch.sagemaker import alarms, autoscaling, hosting, multi_model, shadows, variants
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.bundles import S3Bundle, bundle_tags, description_folder, in_s3
from thorax_launch.sagemaker.capacity import Capacity
from thorax_launch.sagemaker.containers import idle_gpus, readable_secrets
from thorax_launch.sagemaker.cost import hosting_cost
from thorax_launch.sagemaker.deletion import models_of
from thorax_launch.sagemaker.errors import failure_reason, if_there, one_line_errors
from thorax_launch.sagemaker.hosting import SERVERS, HostingSpec, patch_note
from thorax_launch.sagemaker.multi_model import Copy
from thorax_launch.sagemaker.package import Upload
from thorax_launch.sagemaker.present import check_machine
from thorax_launch.sagemaker.registry import Registration, register, registration
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.sagemaker.rollouts import Rollout
from thorax_launch.sagemaker.shadows import Shadow
from thorax_launch.sagemaker.smoke_tests import smoke_test
from thorax_launch.sagemaker.status import settled
from thorax_launch.sagemaker.submission import upload_all
from thorax_launch.sagemaker.summaries import Summary
from thorax_launch.sagemaker.undo import Undo
from thorax_launch.sagemaker.variants import VariantBundle
from thorax_launch.settings import AwsSettings


@dataclass(frozen=True)
class Deployment:
    """All that is sent for one endpoint, checked.

    Attributes:
        spec: what serves, and how.
        bundle: what is served; of a multi-model endpoint the folder of its bundles.
        requests: models, endpoint configuration, endpoint.
        scaling: calls of application-autoscaling, and cloudwatch's put_metric_alarm; may be empty.
        registration: in the model registry, or None.
        rollout: how an update of an endpoint that is there goes.
        shadow: a second bundle that gets a copy of the requests, or None.
        copies: of bundles within S3.
        variants: the bundles that share the requests, where there are several.
        hashes: a line about each bundle's hash.
    """

    spec: HostingSpec
    bundle: S3Bundle
    settings: AwsSettings
    requests: tuple[AwsRequest, ...]
    scaling: tuple[tuple[str, dict[str, Any]], ...] = ()
    registration: Registration | None = None
    rollout: Rollout = field(default_factory=Rollout)
    shadow: Shadow | None = None
    copies: tuple[Copy, ...] = ()
    variants: tuple[VariantBundle, ...] = ()
    hashes: tuple[str, ...] = ()

    @property
    def uploads(self) -> tuple[Upload, ...]:
        also = (self.shadow.bundle.uploads if self.shadow else ()) + (
            self.registration.uploads if self.registration else ()
        )
        also += tuple(upload for one in self.variants for upload in one.bundle.uploads)
        return tuple({upload.uri: upload for upload in self.bundle.uploads + also}.values())

    def calls(self) -> dict[str, Any]:
        """Every call by AWS's name, and its parameters; a list of them where it is made twice."""
        entries = (self.registration.request,) if self.registration else ()
        scaling = [
            ("".join(word.capitalize() for word in name.split("_")), arguments) for name, arguments in self.scaling
        ]
        found: dict[str, Any] = {}
        for operation, arguments in [*((one.operation, one.parameters) for one in self.requests), *scaling]:
            if operation in found:
                before = found[operation]
                found[operation] = [*(before if isinstance(before, list) else [before]), arguments]
            else:
                found[operation] = arguments
        if self.rollout.chosen:
            found["UpdateEndpoint"] = self.rollout.update(self.spec, retain=False)
        return found | {request.operation: request.parameters for request in entries}

    def summary(self) -> Summary:
        """What would be made and uploaded, and what the endpoint costs."""
        spec = self.spec
        does = [f"endpoint {spec.endpoint_name} ({spec.kind})", f"of the bundle {self.bundle.uri}"]
        if spec.targets:
            of = f"of the bundles {', '.join(spec.targets)} in {spec.bundle}"
            does = [f"endpoint {spec.endpoint_name} (multi-model)", of]
        if spec.variants:
            does = [
                f"endpoint {spec.endpoint_name} ({spec.kind})",
                f"of {len(spec.variants)} bundles that share its requests",
            ]
        if self.registration:
            does.append(f"and registers it in {self.registration.request.parameters['ModelPackageGroupName']}")
        variables = self.requests[0].parameters["PrimaryContainer"].get("Environment", {})
        notes = [line for machine in spec.machines if (line := idle_gpus(spec.server, machine, variables))]
        notes += readable_secrets(variables)
        notes += [line for line in (patch_note(spec.server, bool(spec.targets)),) if line]
        notes += self.hashes
        notes += [f"copied:   {one.source}  {one.target}" for one in self.copies]
        count = spec.instance_count * max(len(spec.variants), 1)
        shares = variants.shares({one.name: one.weight for one in spec.variants})
        notes += [f"variant:  {one.name} gets {shares[one.name]:.4g} %, {one.bundle}" for one in spec.variants]
        if spec.shadow:
            count *= 2
            notes.append(
                f"shadow:   {spec.shadow} gets {spec.shadow_percent} % of the requests, on {spec.instance_count} of the"
                " machines below"
            )
        machines = spec.machines if spec.machine else [""]
        costs = [hosting_cost(machine, count if machine else 0, self.settings) for machine in machines]
        if spec.provisioned:
            costs.append(f"note:     {counted(spec.provisioned, 'copy', 'copies')} always warm, and billed by the hour")
        cost = "\nor, where AWS has none of these:\n".join(costs)
        return Summary(tuple(does), (cost,), uploads=self.uploads, notes=tuple(notes))


def plan(
    bundle: str | Sequence[str], options: EndpointOptions, settings: AwsSettings, offline: bool = False
) -> Deployment:
    """The requests of an endpoint, checked against AWS's model; sends nothing, and asks AWS for bundles in S3 alone.

    Args:
        bundle: a folder, a model.tar.gz or its s3:// address; several, or NAME=BUNDLE, for a multi-model endpoint;
            empty where `options.variant` names them.
        offline: ask nothing of AWS: bundles in S3 are not checked.

    Raises:
        ThoraxError: no bundle or a damaged one, a wrong option, or what AWS would refuse, in one line.
    """
    settings, server = with_image(settings, options.image)
    texts = [bundle] if isinstance(bundle, str) else list(bundle)
    several = None
    if options.variant and texts:
        raise ThoraxError(f"{texts[0]} beside --variant: give it a name and a weight, --variant NAME={texts[0]}:WEIGHT")
    if texts and (len(texts) > 1 or named_bundle(texts[0])[0]):
        multi_model.check(options, _kind(options), server, bool(settings.serving_image))
        several = multi_model.bundles(texts, settings, offline)
    shadows.check(options, _kind(options), bool(several))
    variants.check(options, _kind(options))
    shared = variants.variants(options.variant, settings, offline) if options.variant else ()
    packed = several.bundle if several else shared[0].bundle if shared else in_s3(texts[0], settings, offline)
    shadow = Shadow.of(options.shadow, settings, offline) if options.shadow else None
    spec = _spec(packed, options, server)
    if several:
        spec = replace(spec, targets=several.names)
    if shared:
        spec = replace(spec, variants=tuple(one.variant for one in shared))
    if shadow:
        spec = replace(spec, shadow=shadow.bundle.uri, shadow_percent=shadow.percent)
    rollout = Rollout.of(options, spec)
    own_tags = bundle_tags(settings, packed if not shared else replace(packed, sha256=""))
    scaling: list[tuple[str, dict[str, Any]]] = []
    if options.autoscale:
        per_minute = options.autoscale_target or (5.0 if spec.kind == "async" else 600.0)
        scaling = autoscaling.autoscaling(spec, *_limits(options.autoscale), per_minute)
    entry = None
    if options.register:
        with description_folder(packed) as folder:
            entry = registration(packed, Bundle.load(folder), spec, options.register, settings, own_tags)
    requests = (
        *(
            [hosting.variant_model(spec, one.variant, settings, bundle_tags(settings, one.bundle)) for one in shared]
            or [hosting.model(spec, settings, own_tags)]
        ),
        *([hosting.shadow_model(spec, settings, bundle_tags(settings, shadow.bundle))] if shadow else []),
        hosting.endpoint_config(spec, settings, own_tags),
        hosting.endpoint(spec, own_tags),
    )
    copies = several.copies if several else ()
    hashes = several.hashes if several else tuple(one.bundle.hash_line() for one in shared) or (packed.hash_line(),)
    hashes += (shadow.bundle.hash_line(),) if shadow else ()
    made = Deployment(spec, packed, settings, requests, tuple(scaling), entry, rollout, shadow, copies, shared)
    return replace(made, hashes=hashes)


def with_image(settings: AwsSettings, image: str) -> tuple[AwsSettings, str]:
    """(the settings with the serving image of --image, the server that it holds)."""
    if image in SERVERS:
        return replace(settings, serving_image=""), image
    return (replace(settings, serving_image=image) if image else settings), "ray"


def _kind(options: EndpointOptions) -> str:
    return "serverless" if options.serverless else "async" if options.asynchronous else "realtime"


def _spec(bundle: S3Bundle, options: EndpointOptions, server: str) -> HostingSpec:
    kind = _kind(options)
    name = options.endpoint_name or bundle.name
    _check(options, kind, name)
    given = {name: value for name in _SPEC if (value := getattr(options, name))}
    if options.autoscale and kind != "serverless":
        low, high = _limits(options.autoscale)
        count = given.setdefault("instance_count", max(1, low))
        if low <= high and not low <= count <= high:
            raise ThoraxError(f"--instance-count {count} is not within --autoscale {options.autoscale}")
    # the models of a shadow and of variants have longer names
    longer = len("-shadow") if options.shadow else 1 + max(map(len, options.variant)) if options.variant else 0
    short = name[: LONGEST - 14 - longer] if longer else name
    return HostingSpec(dated(short), bundle.uri, kind, server, endpoint=name, sha256=bundle.sha256, **given)


#: Options that a HostingSpec takes as they are.
_SPEC = (
    *("instance_type", "instance_count", "memory_mb", "concurrency", "capture", "env", "ami", "startup_minutes"),
    *("download_minutes", "provisioned", "success_topic", "error_topic"),
)


def _check(options: EndpointOptions, kind: str, name: str) -> None:
    target = options.autoscale_target
    if options.serverless and options.asynchronous:
        raise ThoraxError("--serverless and --async: choose one")
    if kind == "serverless" and (options.instance_type or options.instance_count):
        raise ThoraxError(
            "--serverless with --instance-type or --instance-count: it has no machine of its own; leave them out"
        )
    if kind != "serverless" and options.memory_mb:
        raise ThoraxError("--memory-mb is for --serverless; leave it out")
    if kind == "realtime" and options.concurrency:
        raise ThoraxError("--concurrency is for --serverless and --async; leave it out")
    if target is not None and (not options.autoscale or target <= 0):
        raise ThoraxError(f"--autoscale-target {target:g} must be above 0, and goes with --autoscale LOW,HIGH")
    if kind != "serverless" and options.provisioned:
        raise ThoraxError("--provisioned is for --serverless; leave it out")
    if kind != "async" and (options.success_topic or options.error_topic):
        raise ThoraxError("--success-topic and --error-topic are for --async; leave them out")
    if kind == "serverless" and (options.ami or options.startup_minutes or options.download_minutes):
        raise ThoraxError("--ami, --startup-minutes and --download-minutes are for endpoints with a machine")
    if clean(name) != name:
        raise ThoraxError(
            f"--endpoint-name {name} must be 1 to {LONGEST} letters, digits and hyphens, with a letter or digit at"
            " both ends"
        )


def _limits(text: str) -> tuple[int, int]:
    low, separator, high = text.partition(",")
    if not separator or not low.isdecimal() or not high.isdecimal():
        raise ThoraxError(f"--autoscale {text} must be LOW,HIGH, such as 1,4")
    return int(low), int(high)


def present_configuration(deployment: Deployment) -> str:
    """The configuration of the endpoint that is there already; "" where there is none.

    Raises:
        ThoraxError: it is in a state in which it cannot be updated, AWS does not change its machine under autoscaling,
            or AWS refuses.
    """
    name, settings = deployment.spec.endpoint_name, deployment.settings
    session = open_session(settings)
    sagemaker = client(session, "sagemaker")
    with one_line_errors(settings):
        found = if_there(lambda: sagemaker.describe_endpoint(EndpointName=name))
        if found is None:
            return ""
        if found["EndpointStatus"] not in ("InService", "UpdateRollbackFailed"):
            raise ThoraxError(
                f"endpoint {name} is {found['EndpointStatus']} and cannot be updated now: wait, or"
                f" `{command('delete')} {name}`"
            )
        check_machine(deployment.spec, session, str(found["EndpointConfigName"]), settings.region)
    return str(found["EndpointConfigName"])


def make(deployment: Deployment, before: str) -> None:
    """Uploads, makes the endpoint or updates the one that has the configuration `before`, waits until it answers.

    Raises:
        ThoraxError: it could not be made or does not answer (AWS's or the model's reason). What was made is deleted
            then, and an endpoint that was there before is as before.
    """
    settings, spec = deployment.settings, deployment.spec
    session = open_session(settings)
    with one_line_errors(settings):
        known = {alarm for alarm in _alarms(deployment, before) if alarms.there(alarm, session)}
    upload_all(deployment.uploads, session, settings)
    undo = Undo(
        spec.endpoint_name,
        spec.name,
        before,
        settings,
        had_errors_alarm=autoscaling.errors(spec.endpoint_name) in known,
    )
    try:
        with one_line_errors(settings):
            multi_model.copy_all(deployment.copies, session, settings)
            if before:
                undo.capacity = Capacity.of(spec.endpoint_name, session)
            _make(deployment, session, undo)
            smoke_test(spec, settings, session)
            _scale(deployment, session, undo)
            if deployment.registration:
                print(f"registered: {register(deployment.registration, client(session, 'sagemaker'))}", flush=True)
    except BaseException as error:  # every way out: AWS's errors, the SDK's, Ctrl-C, SIGTERM
        raise undo.taken_back(error) from error
    finish_update(undo, spec, settings)


def finish_update(undo: Undo, spec: HostingSpec, settings: AwsSettings) -> None:
    """Once the endpoint answers: what it had before is deleted, and the line that says how to end it is printed."""
    if undo.before:
        undo.forget_old()
    print(
        f"endpoint {spec.endpoint_name} answers in {settings.region}; it costs until deleted: {command('delete')}"
        f" {spec.endpoint_name}"
    )


def _alarms(deployment: Deployment, before: str) -> list[str]:
    """Names of the alarms that it makes."""
    made = deployment.rollout.alarms_to_make(deployment.spec) if before else []
    made += [arguments for call, arguments in deployment.scaling if call == "put_metric_alarm"]
    return [alarm["AlarmName"] for alarm in made]


def _make(deployment: Deployment, session: Any, undo: Undo) -> None:
    """Models, configuration and endpoint; returns once AWS says that it is in service with them."""
    *models, configuration, endpoint = deployment.requests
    spec = deployment.spec
    for model in models:
        undo.models.append(model.parameters["ModelName"])
        model.send(session)
    undo.configuration = True
    configuration.send(session)
    if undo.before:
        apply_update(deployment.rollout, spec, session, undo)
        return
    undo.endpoint = True
    endpoint.send(session)
    _until_in_service(spec, client(session, "sagemaker"), "made")


def apply_update(rollout: Rollout, spec: HostingSpec, session: Any, undo: Undo) -> None:
    """Moves an endpoint to the configuration of that name; returns once it is in service with it.

    Args:
        rollout: how.
        spec: its name and the configuration's.
        session: boto3's.
        undo: learns which models it had, less those that it goes on with.

    Raises:
        ThoraxError: AWS could not.
        botocore's errors: AWS refuses.
    """
    sagemaker = client(session, "sagemaker")
    old = if_there(lambda: sagemaker.describe_endpoint_config(EndpointConfigName=undo.before)) or {}
    new = sagemaker.describe_endpoint_config(EndpointConfigName=spec.name)
    kept = models_of(new)
    undo.old_models = tuple(name for name in models_of(old) if name not in kept)
    undo.endpoint = True
    for alarm in rollout.alarms_to_make(spec):
        undo.errors_alarm = not undo.had_errors_alarm
        client(session, "cloudwatch").put_metric_alarm(**alarm)
    # the number of machines that autoscaling has come to stays
    scaled = bool(undo.capacity and undo.capacity.targets)
    sagemaker.update_endpoint(**rollout.update(spec, retain=scaled))
    _until_in_service(spec, sagemaker, "updated")


def _until_in_service(spec: HostingSpec, sagemaker: Any, done: str) -> None:
    name = spec.endpoint_name
    print(f"endpoint {name} is being {done}; this takes minutes", flush=True)
    now = settled(sagemaker, name, show=True)
    if now["EndpointStatus"] != "InService" or now["EndpointConfigName"] != spec.name:
        raise ThoraxError(
            f"endpoint {name} failed: {failure_reason(now)}; its log: CloudWatch /aws/sagemaker/Endpoints/{name}"
        )


def _scale(deployment: Deployment, session: Any, undo: Undo) -> None:
    scaling, policy = client(session, "application-autoscaling"), ""
    there = bool(undo.capacity and undo.capacity.targets)
    for call, arguments in deployment.scaling:
        undo.scaling = True
        if there:  # tags are for a new target alone
            arguments = {key: value for key, value in arguments.items() if key != "Tags"}
        if call == "put_metric_alarm":
            undo.alarm = True
            client(session, "cloudwatch").put_metric_alarm(**{**arguments, "AlarmActions": [policy]})
        else:
            policy = getattr(scaling, call)(**arguments).get("PolicyARN", "")
