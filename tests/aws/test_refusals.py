"""What is refused with one line before anything is read, uploaded or sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thorax_launch.cli import delete, follow, leaderboard, train, tune

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--region", "eu-central-1", "--bucket", "films", "--role", ROLE, "--yes"]
IMAGES = ["--train", "s3://films/train"]
HOSTILE = [
    "$(touch hacked)",
    "$(id)",
    "${IFS}",
    "a;id",
    "a>b",
    "a'; touch hacked; echo '",
    'x"y',
    "a\nb",
    "a&b",
    "`id`",
    "x" * 3000,
    "naïve ☃",
    "a b|c",
    "\\",
    "\0",
    "a\tb",
]
Capture = pytest.CaptureFixture[str]


def refused(script: Any, words: list[str], capsys: Capture, code: int = 1) -> str:
    """The one line that a command ends with.

    AWS was not asked (the fixture `offline` sees to it), nothing was written.
    """
    assert script.main(words) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []
    return shown.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        (tune, ["pneumonia-resnet18", *IMAGES, *PLACE, "--transfer"], "--transfer is for --warm-start NAME"),
        (leaderboard, ["x", "--local", "--region", "eu-central-1"], "--region is for AWS"),
        (leaderboard, ["x", "--local", "--profile", "me"], "--profile is for AWS"),
    ],
)
def test_flags_that_would_say_nothing(
    script: Any, words: list[str], message: str, offline: Path, capsys: Capture
) -> None:
    assert refused(script, words, capsys).startswith(message)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("script", [train, tune])
def test_hostile_hyperparameters(script: Any, text: str, offline: Path, capsys: Capture) -> None:
    assert "labels" in refused(script, ["pneumonia-resnet18", *IMAGES, *PLACE, "--set", f"labels=A,{text}"], capsys)


@pytest.mark.parametrize("text", [one for one in HOSTILE if one != "a b|c"])
@pytest.mark.parametrize("script", [train, tune])
def test_hostile_job_names(script: Any, text: str, offline: Path, capsys: Capture) -> None:
    assert (
        "JobName" in (message := refused(script, ["pneumonia-resnet18", *IMAGES, *PLACE, f"--job-name={text}"], capsys))
        or "--job-name" in message
    )


@pytest.mark.parametrize("text", ["a'b", "a\nb", "$(id)", "`", "x" * 257, "a;b", "☃"])
def test_hostile_tags(text: str, offline: Path, capsys: Capture) -> None:
    assert "Tags" in refused(train, ["demo", *IMAGES, *PLACE, "--tag", f"team={text}"], capsys)
    assert "Tags" in refused(train, ["demo", *IMAGES, *PLACE, "--tag", f"{text}=team"], capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--train is missing"),
        (["--train", ""], "--train is empty; is a shell variable unset?"),
        ([*IMAGES, "--test", ""], "--test is empty; is a shell variable unset?"),
        ([*IMAGES, "--weights", ""], "--weights is empty; is a shell variable unset?"),
        (["--train", "nowhere"], "--train nowhere does not exist"),
        (["--train", "http://x/y"], "--train http://x/y must be a folder or s3://BUCKET/PREFIX"),
        ([*IMAGES, "--channel", "x"], "--channel x must be NAME=PATH"),
        ([*IMAGES, "--channel", "train=s3://b/p"], "channel train is given twice"),
        (
            [*IMAGES, "--channel", "a b=s3://b/p"],
            "--channel a b=s3://b/p must be NAME=PATH with a name of train, validation",
        ),
        ([*IMAGES, "--train", "s3://"], "InputDataConfig[0].DataSource.S3DataSource.S3Uri='s3://'"),
        (
            [*IMAGES, "--content-type", "test=x"],
            "--content-type test: there is no such channel; the channels are train",
        ),
        ([*IMAGES, "--set", "epochz=3"], "unknown hyperparameter epochz; did you mean epochs?"),
        ([*IMAGES, "--set", "epochs"], "--set epochs must be key=value"),
        ([*IMAGES, "--spot", "--warm-pool-minutes", "5"], "--spot with --warm-pool-minutes 5"),
        ([*IMAGES, "--max-wait-hours", "5"], "--max-wait-hours 5 is for --spot"),
        (
            [*IMAGES, "--spot", "--max-hours", "5", "--max-wait-hours", "4"],
            "--max-wait-hours 4 is less than --max-hours 5",
        ),
        ([*IMAGES, "--max-hours", "0"], "--max-hours 0.0 must be above 0"),
        ([*IMAGES, "--max-hours", "0.00001"], "--max-hours 1e-05 is less than a minute"),
        (
            [*IMAGES, "--bucket", "s3://my-bucket"],
            "--bucket 's3://my-bucket' must be a bucket's name alone: 3 to 63 of a-z",
        ),
        ([*IMAGES, "--bucket", "Bad_Bucket"], "--bucket 'Bad_Bucket' must be a bucket's name alone"),
        ([*IMAGES, "--bucket", "b/sub"], "--bucket 'b/sub' must be a bucket's name alone"),
        ([*IMAGES, "--bucket", "images-"], "--bucket 'images-' must be a bucket's name alone"),
        ([*IMAGES, "--resume", "a b"], "--resume 'a b' must be the name of a training job"),
        (
            [*IMAGES, "--set", "batch_size=33", "--processes", "2", "--dry-run"],
            "ml.m5.xlarge: batch_size=33 does not divide by processes=2",
        ),
        (
            [*IMAGES, "--set", "batch_size=33", "--instance-type", "ml.g5.12xlarge"],
            "ml.g5.12xlarge: batch_size=33 does not divide by processes=4",
        ),
        ([*IMAGES, "--set", "precision_dtype=float16"], "ml.m5.xlarge: precision_dtype=float16 needs a GPU"),
        ([*IMAGES, "--max-hours", "1000"], "--max-hours 1000: AWS lets a job run and wait 672 hours"),
        ([*IMAGES, "--instance-count", "0"], "--instance-count 0 must be above 0"),
        (
            [*IMAGES, "--instance-type", "ml.imagined.xlarge"],
            "ResourceConfig.InstanceType='ml.imagined.xlarge' is not one of AWS's",
        ),
        (
            [*IMAGES, "--volume-kms-key", "x", "--instance-type", "big"],
            "no AWS image for --region eu-central-1 and --instance-type big",
        ),
        (
            ["--train", "nowhere", "--volume-kms-key", "alias/disk", "--instance-type", "ml.g5.xlarge"],
            "--volume-kms-key alias/disk with ml.g5.xlarge: AWS takes no key for a machine with local storage",
        ),
        ([*IMAGES, "--processes", "0"], "--processes 0 must be 1 or more"),
        ([*IMAGES, "--warm-pool-minutes", "100000"], "ResourceConfig.KeepAlivePeriodInSeconds=6000000 is not"),
        (
            [*IMAGES, "--channel", "code=s3://films/x"],
            "--channel code=s3://films/x must be NAME=PATH with a name of train, validation",
        ),
        (
            [*IMAGES, "--network-isolation"],
            (
                "--network-isolation: the container cannot pip install source_dir/requirements.txt; take the packages"
                " along"
            ),
        ),
        (
            [*IMAGES, "--network-isolation", "--wheels", "none"],
            "--wheels none holds no .whl files; fill it: thorax wheels wheels",
        ),
        (
            [*IMAGES, "--debugger", "--instance-count", "2"],
            "--debugger with 2 x ml.m5.xlarge: AWS takes no Debugger where distributed",
        ),
        ([*IMAGES, "--subnets", "subnet-1"], "subnets is set (flags) but security_groups is not"),
        (
            [*IMAGES, "--role", "arn:aws:iam::12:role/x"],
            "--role 'arn:aws:iam::12:role/x' must be a role's name, or its ARN",
        ),
        ([*IMAGES, "--role", "arn:foo", "--dry-run"], "--role 'arn:foo' must be a role's name, or its ARN"),
        ([*IMAGES, "--region", "eu_central_1"], "--region 'eu_central_1' must be a region such as eu-central-1"),
        ([*IMAGES, "--env", "NAME"], "--env NAME must be KEY=VALUE"),
        ([*IMAGES, "--env", "a b=1"], "a name in Environment='a b'"),
        ([*IMAGES, "--tag", "x"], "--tag x must be KEY=VALUE"),
        ([*IMAGES, "--settings", "none.yaml"], "--settings none.yaml cannot be read"),
        ([*IMAGES, "--profile", "nobody"], "--profile: The config profile (nobody) could not be found"),
        ([*IMAGES, "--prices", "none.yaml", "--dry-run"], "--prices none.yaml cannot be read"),
        ([*IMAGES, "--region", "nowhere-1", "--dry-run"], "no AWS image for --region nowhere-1"),
    ],
)
def test_wrong_flags(words: list[str], message: str, offline: Path, capsys: Capture) -> None:
    assert refused(train, ["demo", *PLACE, *words], capsys).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--set", "precision_dtype=float16", "--instance-type", "ml.m5.xlarge"],
            "ml.m5.xlarge: precision_dtype=float16 needs a GPU",
        ),
        (["--processes", "3"], "ml.g5.xlarge: batch_size=32 does not divide by processes=3"),
        (["--debugger"], "--debugger and --profiler: AWS's tuning jobs carry neither"),
        (["--profiler"], "--debugger and --profiler: AWS's tuning jobs carry neither"),
        (["--job-name", "a" * 33], "--job-name aaa"),
        (
            ["--strategy", "magic"],
            "recipe pneumonia-resnet18: strategy=magic is not one of bayesian, random, hyperband, grid",
        ),
        (
            ["--strategy", "grid"],
            "recipe pneumonia-resnet18: strategy=grid takes choices only, but learning_rate has min and max",
        ),
        (
            ["--strategy", "hyperband", "--early-stopping"],
            "recipe pneumonia-resnet18: strategy=hyperband stops jobs itself",
        ),
        (["--max-jobs", "0"], "recipe pneumonia-resnet18: max_jobs=0 must be a whole number above 0"),
        (["--set", "lr=0.1"], "--set lr=0.1: learning_rate is searched by the recipe's tune: part"),
        (
            ["--warm-start", "a_b"],
            "WarmStartConfig.ParentHyperParameterTuningJobs[0].HyperParameterTuningJobName='a_b'",
        ),
    ],
)
def test_wrong_searches(words: list[str], message: str, offline: Path, capsys: Capture) -> None:
    assert refused(tune, ["pneumonia-resnet18", *IMAGES, *PLACE, *words], capsys).startswith(message)


@pytest.mark.parametrize("script", [follow, delete, leaderboard])
@pytest.mark.parametrize("origin", ["--region", "AWS session"])
def test_a_region_that_cannot_be(
    script: Any, origin: str, offline: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu_central_1")
    assert refused(script, ["x", *(["--region", "eu_central_1"] if origin == "--region" else [])], capsys).startswith(
        origin
    )


@pytest.mark.parametrize("script", [train, tune])
@pytest.mark.parametrize(
    "words",
    [
        ["--dry-run"],
        ["--spot"],
        ["--no-network-isolation"],
        ["--instance-count", "2"],
        ["--tag", "a=b"],
        ["--region", "x"],
    ],
)
def test_flags_of_aws_beside_local(script: Any, words: list[str], offline: Path, capsys: Capture) -> None:
    assert (
        refused(script, ["pneumonia-resnet18", "--local", *words], capsys)
        == f"{words[0].replace('--no-', '--')} is for AWS; leave it out, or leave --local out"
    )


def test_an_empty_train_is_not_the_synthetic_images(offline: Path, capsys: Capture) -> None:
    assert refused(train, ["demo", "--local", "--train", ""], capsys) == "--train is empty; is a shell variable unset?"


def test_addresses_beside_local(offline: Path, capsys: Capture) -> None:
    assert refused(train, ["demo", "--local", "--train", "s3://films/train"], capsys).startswith(
        "--train s3://films/train: --local reads folders of this machine"
    )


def test_a_recipe_without_ranges(offline: Path, capsys: Capture) -> None:
    assert refused(tune, ["demo", *IMAGES, *PLACE], capsys) == "recipe demo has no tune: part; docs/aws.md shows one"


RANGES = "recipe own.yaml: tune.ranges.dropout must be {min: 0.0001, max: 0.1, scale: log} or {choices: [32, 64, 128]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{[a]: 3}", "recipe own.yaml is not YAML: ['a'] cannot be a key"),
        ("tune: 3", "recipe own.yaml: tune must be a mapping with ranges"),
        ("tune: {ranges: {}}", "recipe own.yaml: tune must be a mapping with ranges"),
        (
            "tune: {range: {a: 1}, ranges: {dropout: {min: 0, max: 0.5}}}",
            "recipe own.yaml: tune has an unknown key range; it takes ranges, strategy",
        ),
        ("tune: {ranges: {dropout: 3}}", RANGES),
        ("tune: {ranges: {dropout: {min: 0}}}", RANGES),
        ("tune: {ranges: {dropout: {min: 0, max: 0.5, scale: cubic}}}", RANGES),
        ("tune: {ranges: {dropout: {min: low, max: 0.5}}}", RANGES),
        ("tune: {ranges: {dropout: {choices: [1]}}}", RANGES),
        (
            "tune: {ranges: {dropout: {min: 0.5, max: 0.5}}}",
            "recipe own.yaml: tune.ranges.dropout: min=0.5 is not below max=0.5",
        ),
        (
            "tune: {ranges: {dropout: {min: 0, max: 0.5, scale: log}}}",
            "recipe own.yaml: tune.ranges.dropout: scale=log needs min above 0, not 0",
        ),
        (
            "tune: {ranges: {epochs: {min: 1.5, max: 3}}}",
            "recipe own.yaml: tune.ranges.epochs: min=1.5, max=3 must be whole numbers",
        ),
        ("tune: {ranges: {epochz: {min: 1, max: 3}}}", "unknown hyperparameter epochz; did you mean epochs?"),
        ("tune: {ranges: {dropout: {min: 0, max: 3}}}", "dropout="),
        (
            "tune: {ranges: {lr: {min: 0.1, max: 1}, learning_rate: {min: 0.1, max: 1}}}",
            "recipe own.yaml: tune.ranges has two spellings",
        ),
        (
            "tune: {ranges: {labels: {choices: ['a;b', c]}}}",
            "recipe own.yaml: tune.ranges: the value of labels holds ;",
        ),
        (
            "tune: {max_jobs: many, ranges: {dropout: {min: 0, max: 0.5}}}",
            "recipe own.yaml: max_jobs=many must be a whole number above 0",
        ),
        ("spot: maybe", "recipe own.yaml: spot=maybe must be true or false"),
        ("input_mode: Pipe", "recipe own.yaml: input_mode=Pipe must be File or FastFile"),
        ("volume_gb: 1.5", "recipe own.yaml: volume_gb=1.5 is not a whole number"),
        ("max_hours: long", "recipe own.yaml: max_hours=long is not a number"),
    ],
)
def test_wrong_recipes(text: str, message: str, offline: Path, capsys: Capture) -> None:
    Path("own.yaml").write_text(f"{text}\n")
    assert tune.main(["own.yaml", *IMAGES, *PLACE]) == 1
    assert (shown := capsys.readouterr().err).startswith(f"error: {message}")
    assert shown.count("\n") == 1
