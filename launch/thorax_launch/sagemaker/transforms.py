"""A batch transform: images in S3 through a bundle, then its answers as the one scored table.

All that a batch writes is below one address, s3://BUCKET/PREFIX/NAME/: batch.json says which bundle and images it is
about and which job works on it now, scores/ has the answers of all its jobs. So a batch that failed half-way, or whose
line broke, goes on with `--resume NAME`.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.scoring.batch import read_outputs
from thorax.scoring.transform_outputs import SUFFIX
from thorax.text import are, counted, has
from thorax_launch.invocation import command
from thorax_launch.names import dated
from thorax_launch.options import TransformOptions
from thorax_launch.sagemaker import batch_images, deletion, hosting
from thorax_launch.sagemaker.account import client, open_session
from thorax_launch.sagemaker.batch_images import BatchImages
from thorax_launch.sagemaker.bundles import S3Bundle, bundle_tags, description_folder, in_s3
from thorax_launch.sagemaker.containers import idle_gpus, readable_secrets, transform_environment
from thorax_launch.sagemaker.cost import hosting_cost
from thorax_launch.sagemaker.deployment import with_image
from thorax_launch.sagemaker.endings import StoppedError, Terminated, check_completed
from thorax_launch.sagemaker.errors import failure_reason, if_there, one_line_errors, taken
from thorax_launch.sagemaker.handles import TransformJob
from thorax_launch.sagemaker.hosting import HostingSpec, TransformPlace
from thorax_launch.sagemaker.kinds import TRANSFORM
from thorax_launch.sagemaker.package import Upload, bucket_and_key
from thorax_launch.sagemaker.requests import AwsRequest
from thorax_launch.sagemaker.smoke_tests import read_object
from thorax_launch.sagemaker.status import Description, JobLog
from thorax_launch.sagemaker.submission import covers, may_have_started, send_once, upload_all
from thorax_launch.sagemaker.summaries import Summary
from thorax_launch.sagemaker.transfers import download
from thorax_launch.settings import AwsSettings

_NOTHING = "nothing of it is left on AWS but its files in S3"


@dataclass(frozen=True)
class Transform:
    """A batch transform, checked: its two requests and what must be in S3 first.

    Attributes:
        name: of the job and its model.
        batch: name of the batch: that of its first job.
        model, job: requests.
        images: what it reads.
        notes: lines for the user.
        sent: whether its job was started; False: every image has its answer.
    """

    name: str
    batch: str
    bundle: S3Bundle
    settings: AwsSettings
    model: AwsRequest
    job: AwsRequest
    images: BatchImages
    options: TransformOptions
    notes: tuple[str, ...] = ()
    sent: bool = False

    @property
    def output(self) -> str:
        """s3:// address of the answers."""
        return hosting.transform_output(self.batch, self.settings)

    @property
    def record(self) -> str:
        """s3:// address of what the batch is about."""
        return f"{self.settings.root}/{self.batch}/batch.json"

    @property
    def uploads(self) -> tuple[Upload, ...]:
        return self.bundle.uploads + self.images.uploads

    def calls(self) -> dict[str, Any]:
        """Every call by AWS's name, and its parameters."""
        return {request.operation: dict(request.parameters) for request in (self.model, self.job)}

    def summary(self) -> Summary:
        """What would be made, read and uploaded, and what the machines cost."""
        machine, count = self.options.instance_type, self.options.instance_count
        cost = hosting_cost(machine, count, self.settings, "until the last image is scored")
        does = (f"batch transform {self.name}", f"answers in {self.output}")
        reads, *left_out = self.images.lines()
        reads = reads.partition(":")[2].strip()
        return Summary(does, (cost,), (reads,), self.uploads, (*left_out, self.bundle.hash_line(), *self.notes))

    def again(self) -> str:
        """The words that end a command which fetches the answers and sends what has none."""
        return f"the same command with --resume {self.batch} --wait fetches the answers and sends what has none"


def plan(
    bundle: str, images_at: str, options: TransformOptions, settings: AwsSettings, offline: bool = False
) -> Transform:
    """The two requests of a batch transform; sends nothing, and asks AWS for the bundle alone, where that is in S3.

    Args:
        bundle: a folder, a model.tar.gz or its s3:// address.
        images_at: a folder, or an s3:// address.
        offline: ask nothing of AWS: a bundle in S3 is not checked.

    Raises:
        ThoraxError: no bundle or a damaged one, no images, or what AWS would refuse.
    """
    settings, server = with_image(settings, options.image)
    packed = in_s3(bundle, settings, offline)
    name, own_tags = options.job_name or dated(options.resume or packed.name), bundle_tags(settings, packed)
    if name == options.resume:
        raise ThoraxError(f"--job-name {name} is the batch that --resume names; choose another name for the new job")
    images = batch_images.planned(images_at, options, settings)
    batch, machine = options.resume or name, options.instance_type
    variables = transform_environment(server, options)
    spec = HostingSpec(name, packed.uri, server=server, instance_type=machine, env=variables)
    place = TransformPlace(
        name=name,
        manifest=f"{settings.root}/{batch}/{name}.manifest.json",
        output=hosting.transform_output(batch, settings),
        image=hosting.image(spec, settings),
    )
    job = hosting.transform(place, settings, own_tags, options)
    model = hosting.model(spec, settings, own_tags)
    found = (idle_gpus(server, machine, variables), hosting.patch_note(server), *readable_secrets(variables))
    notes = tuple(line for line in found if line)
    return Transform(name, batch, packed, settings, model, job, images, options, notes)


def start(transform: Transform) -> Transform:
    """Uploads, makes the model and starts the job; of a batch that is resumed only images without an answer are sent.

    Returns:
        The transform with its images; its `sent` is False where every image has its answer already.

    Raises:
        ThoraxError: the batch that is resumed is about other images or another bundle, or AWS refuses; no model is left
            then.
    """
    settings = transform.settings
    session = open_session(settings)
    s3, sagemaker = client(session, "s3"), client(session, "sagemaker")
    upload_all(transform.uploads, session, settings)
    with one_line_errors(settings):
        if transform.images.names is None:
            transform = replace(transform, images=batch_images.listed(transform.images, transform.options, s3))
            print("\n".join(transform.images.lines()), flush=True)
        names = transform.images.names or ()
        if transform.options.resume:
            _end_of_last_job(transform, s3, sagemaker)
            done = set(_answers(transform, s3))
            names = tuple(name for name in names if name not in done)
            answered = f"{counted(len(done), 'image')} {has(len(done))} an answer"
            print(f"batch {transform.batch}: {answered}, {len(names):,} {are(len(names))} sent", flush=True)
            if not names:
                return transform
        place = transform.job.parameters["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        about = {"bundle": transform.bundle.uri, "images": transform.images.source, "job": transform.name}
        files = {
            place: batch_images.manifest(transform.images.source, names),
            transform.record: json.dumps(about).encode(),
        }
        if _is_there(transform, sagemaker):
            _check_same(transform, files, s3)
    upload_all([Upload(uri, content) for uri, content in files.items()], session, settings)
    _send(transform, session)
    return replace(transform, sent=True)


def _check_same(transform: Transform, files: dict[str, bytes], s3: Any) -> None:
    """Raises ThoraxError where the job of that name reads something else: its files must stay as they are."""
    if any(read_object(s3, uri) != content for uri, content in files.items()):
        raise ThoraxError(
            f"--job-name {transform.name} is taken by a batch transform of other images or another bundle: choose"
            f" another name, or --resume {transform.name} to go on with that one"
        )


def _send(transform: Transform, session: Any) -> None:
    """Makes model and job; without the job no model is left, but where that may have started all the same.

    Raises:
        ThoraxError: AWS refuses.
        StoppedError: Ctrl-C or a signal; its line says what is left.
    """
    settings, name = transform.settings, transform.name
    _make_model(transform, session)
    try:
        send_once(transform.job, name, settings)
    except BaseException as error:
        left = may_have_started(name).removeprefix("; ")
        if not _is_there(transform, client(session, "sagemaker")):
            delete_model(transform)
            left = _NOTHING
        if isinstance(error, KeyboardInterrupt | Terminated):
            raise StoppedError(left, error) from None
        raise


def _make_model(transform: Transform, session: Any) -> None:
    """Makes the model; one of that name is taken where it is the same, which an earlier try left. See _send."""
    settings, name = transform.settings, transform.name
    sagemaker = client(session, "sagemaker")
    try:
        with one_line_errors(settings):
            transform.model.send(session)
    except BaseException as error:
        if taken(error):
            with one_line_errors(settings):
                there = sagemaker.describe_model(ModelName=name)
            if covers(there, transform.model.parameters):
                return
            raise ThoraxError(
                f"--job-name {name} is the name of another model; choose another, or delete that one"
            ) from None
        if not _is_there(transform, sagemaker):
            delete_model(transform)
        if isinstance(error, KeyboardInterrupt | Terminated):
            raise StoppedError(_NOTHING, error) from None
        raise


def _is_there(transform: Transform, sagemaker: Any) -> bool:
    """Whether the job was made; also where AWS cannot be asked."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return if_there(lambda: TRANSFORM.describe(sagemaker, transform.name)) is not None
    except (BotoCoreError, ClientError):
        return True


def _end_of_last_job(transform: Transform, s3: Any, sagemaker: Any) -> None:
    """Waits for the batch's last job and deletes its model.

    Raises:
        ThoraxError: there is no such batch, or it is about something else.
    """
    stored = read_object(s3, transform.record)
    if stored is None:
        raise ThoraxError(f"--resume {transform.batch}: there is no such batch, {transform.record} does not exist")
    about = json.loads(stored)
    now = {"bundle": transform.bundle.uri, "images": transform.images.source}
    for what, address in now.items():
        if about[what] != address:
            raise ThoraxError(
                f"--resume {transform.batch}: that batch is about the {what} {about[what]}, not {address}; give the"
                " same bundle and --data as then, or leave --resume out"
            )
    last = about["job"]
    if if_there(lambda: TRANSFORM.describe(sagemaker, last)) is not None:
        BatchJob(replace(transform, name=last)).wait()
    deletion.delete_all([deletion.model(last)], transform.settings)


def delete_model(transform: Transform) -> None:
    """Deletes the job's model, of which nothing is needed once it has ended; where that fails, a line says so."""
    try:
        deletion.delete_all([deletion.model(transform.name)], transform.settings)
    except ThoraxError as error:  # answers that are paid for matter more
        print(f"note: model {transform.name} is left, which costs nothing: {error}", flush=True)


class BatchJob(TransformJob):
    """The job of a batch; how it ended is told by `finish`, once its answers are fetched."""

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform.name, transform.settings)
        self.transform = transform

    def _log(self) -> None:
        """Nothing is shown of it: a line for each image."""

    def _report(self, job: Description, log: JobLog | None, logs: bool) -> None:
        self.known = job

    @property
    def kept(self) -> str:
        """What stays when it is stopped, in words."""
        return f"its answers stay: {self.transform.again()}"

    @property
    def then(self) -> str:
        """What fetches its answers."""
        return f"; {self.transform.again()}"


def finish(job: BatchJob, out: Path, data: Path | None) -> None:
    """Deletes the model of a job that has ended, and writes the table of all answers there are.

    Args:
        job: was waited for.
        out: the table; images without an answer are listed in OUT.unreadable.csv.
        data: folder of the images, for their labels.

    Raises:
        JobEndedError: the job did not complete; the table is written first.
        ThoraxError: images have no answer.
    """
    transform, described = job.transform, job.known or job.describe()
    delete_model(transform)
    status = job.kind.state(described)
    why = "completed without an answer for it" if status == job.kind.good else f"{status}: {failure_reason(described)}"
    missing = write_table(transform, out, data, f"job {job.name} {why}")
    count = f"; {missing} of {counted(len(transform.images.names or ()), 'image')} {has(missing)} no answer"
    log = f"; its log: CloudWatch {job.kind.logs}{count}"
    check_completed(job.kind, job.name, described, log, transform.again())
    if missing:
        raise ThoraxError(f"job {job.name} completed{log}; {transform.again()}")


def write_table(transform: Transform, out: Path, data: Path | None, why: str = "") -> int:
    """Fetches the answers and writes the table; the images' labels come from the folder `data`.

    Args:
        why: an image has no answer.

    Returns:
        How many images have none.
    """
    s3 = client(open_session(transform.settings), "s3")
    with tempfile.TemporaryDirectory() as folder, one_line_errors(transform.settings):
        answers, bucket = _answers(transform, s3), bucket_and_key(transform.output)[0]
        files = {}
        for name, key in answers.items():
            file = (Path(folder) / f"{name}{SUFFIX}").resolve()
            if not file.is_relative_to(Path(folder).resolve()):
                raise ThoraxError(f"the answer {key} has a name that leads out of its folder")
            file.parent.mkdir(parents=True, exist_ok=True)
            files[bucket, key] = file
        download(s3, files, "downloading answers")
        missing = {name: why for name in transform.images.names or () if name not in answers}
        if answers:
            with description_folder(transform.bundle, s3) as described:
                read_outputs(Path(folder), out, bundle=described, data=data, unanswered=missing)
    return len(missing)


def _answers(transform: Transform, s3: Any) -> dict[str, str]:
    """Image -> key of its answer, of those images that have one."""
    bucket, prefix = bucket_and_key(transform.output)
    names = dict.fromkeys(transform.images.names or ())
    found: dict[str, str] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            key = entry["Key"].removeprefix(prefix).removesuffix(SUFFIX)
            if (name := batch_images.name_of(key, transform.images.source, names)) is not None:
                found[name] = entry["Key"]
    return found


def resume_line(transform: Transform) -> str:
    """What a user does once the job is done, whose model is still there."""
    again = f"{transform.again()} (`{command('batch')} ...`)"
    return f"when it is done: {again}; its model {transform.name} is deleted then"
