"""prepare.py upload, against a simulated S3."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from moto import mock_aws

from thorax_launch.cli import prepare
from thorax_launch.sagemaker import s3

BUCKET = "films-of-a-test"
FILES = {"a/1.png": b"one", "a/2.png": b"two", "b.idx": b"index", ".hidden/x": b"secret", "a/.partial": b"half"}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """Nothing of this machine's AWS configuration is used."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(scope="module")
def simulated():
    """A client of a simulated S3; one for all tests, for making it takes half a second."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield s3.client(None, "us-east-1")


@pytest.fixture
def bucket(simulated, no_account, monkeypatch):
    simulated.create_bucket(Bucket=BUCKET)
    monkeypatch.setattr(s3, "client", lambda *_: simulated)
    yield simulated
    for key in objects(simulated):
        simulated.delete_object(Bucket=BUCKET, Key=key)
    simulated.delete_bucket(Bucket=BUCKET)


def objects(client) -> dict[str, bytes]:
    listed = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {entry["Key"]: client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed}


def run(folder: Path, *words: str, target: str = "s3://films-of-a-test/set/x") -> int:
    return prepare.main(["upload", str(folder), target, *words])


def counts(capsys) -> tuple[int, int]:
    """(uploaded, unchanged) files, as the last line says."""
    *_, last = re.findall(r"(\d+) files? uploaded \(\d+ bytes?\), (\d+) unchanged", capsys.readouterr().out)
    return int(last[0]), int(last[1])


def test_everything_goes_up_once_and_then_only_what_changed(folder, bucket, capsys):
    assert run(folder) == 0
    assert objects(bucket) == {
        f"set/x/{name}": data for name, data in FILES.items() if "." not in name[0] and "/." not in name
    }
    assert counts(capsys) == (3, 0)
    (folder / "a/2.png").write_bytes(b"TWO")  # as long as before
    (folder / "c.txt").write_bytes(b"new")
    assert run(folder) == 0
    assert counts(capsys) == (2, 2)
    assert objects(bucket)["set/x/a/2.png"] == b"TWO"
    assert run(folder, "--processes", "1") == 0
    assert counts(capsys) == (0, 4)


def test_an_interrupted_upload_goes_on(folder, bucket, capsys, monkeypatch):
    send = s3._send

    def interrupted(to, key, *others):
        if key.endswith("b.idx"):
            raise s3.ThoraxError("the network is gone")
        return send(to, key, *others)

    monkeypatch.setattr(s3, "_send", interrupted)
    assert run(folder, "--processes", "1") == 1
    assert len(objects(bucket)) == 2
    monkeypatch.setattr(s3, "_send", send)
    assert run(folder) == 0
    assert counts(capsys) == (1, 2)


def test_exclude_prefix_and_kms_key(folder, bucket):
    key = "0d990263-018e-4e65-a703-eff731de951e"
    assert run(folder, "--exclude", "*.idx", "--exclude", "a/2*", "--kms-key", key, target="s3://films-of-a-test") == 0
    assert set(objects(bucket)) == {"a/1.png"}
    head = bucket.head_object(Bucket=BUCKET, Key="a/1.png")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"].rpartition("/")[2]) == ("aws:kms", key)
    assert set(head["Metadata"]) == {"sha256"}


def test_sha256_tells_an_unchanged_file_where_the_etag_cannot(folder, bucket, capsys, monkeypatch):
    """With KMS, or in several parts, an ETag is no MD5."""
    assert run(folder) == 0
    listed = s3._listed
    monkeypatch.setattr(s3, "_listed", lambda *given: ((key, (size, "0-2")) for key, (size, _) in listed(*given)))
    assert run(folder) == 0
    assert counts(capsys) == (0, 3)
    (folder / "b.idx").write_bytes(b"INDEX")
    assert run(folder) == 0
    assert counts(capsys)[0] == 1


def test_files_that_another_program_uploaded_count_by_their_etag(folder, bucket, capsys):
    bucket.put_object(Bucket=BUCKET, Key="set/x/a/1.png", Body=b"one")
    assert run(folder) == 0
    assert counts(capsys) == (2, 1)


def test_a_dry_run_needs_no_credentials_and_no_network(folder, capsys, monkeypatch):
    monkeypatch.setattr(s3, "client", lambda *_: pytest.fail("AWS was asked"))
    assert run(folder, "--dry-run", "--exclude", "*.idx") == 0
    shown = capsys.readouterr()
    one, two = json.loads(shown.out)["PutObject"]
    assert one == {"file": str(folder / "a/1.png"), "to": "s3://films-of-a-test/set/x/a/1.png", "bytes": 3}
    assert two["to"].endswith("/a/2.png")
    assert "upload:   2 files (2 images), 6 bytes" in shown.err


def test_links_are_followed_and_one_that_leads_nowhere_is_named(folder, bucket, capsys):
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "3.png").write_bytes(b"three")
    (folder / "linked").symlink_to(folder.parent / "elsewhere")
    (folder / "a" / "back").symlink_to(folder)
    assert run(folder) == 0
    assert objects(bucket)["set/x/linked/3.png"] == b"three"
    assert len(objects(bucket)) == 4
    (folder / "gone").symlink_to("nowhere")
    assert run(folder, "--exclude", "go*") == 0
    capsys.readouterr()
    assert run(folder) == 1
    assert (
        message(capsys) == f"error: {folder / 'gone'} is a link to nowhere, which is not there; fix or remove the link"
    )


def test_an_empty_folder_argument_is_not_the_current_folder(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert prepare.main(["upload", "", "s3://films-of-a-test/x", "--dry-run"]) == 1
    assert message(capsys) == "error: FOLDER is empty; is a shell variable unset?"


def message(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def failing(error: Exception):
    """What a method does that S3 refuses."""

    def fail(*_, **__):
        raise error

    return fail


def test_missing_credentials_are_one_line(folder, capsys):
    assert run(folder) == 1
    assert message(capsys).startswith("error: there are no AWS credentials; sign in")


def test_an_unknown_profile_is_one_line(folder, capsys):
    assert run(folder, "--profile", "nobody") == 1
    assert "(nobody) could not be found; choose another --profile" in message(capsys)


def test_no_such_bucket_is_one_line(folder, bucket, capsys):
    assert run(folder, target="s3://another-bucket/x") == 1
    assert message(capsys) == "error: there is no bucket another-bucket; create it, or fix the name or --region"


def test_a_missing_kms_key_is_one_line(folder, bucket, capsys, monkeypatch):
    monkeypatch.setattr(
        bucket,
        "put_object",
        failing(ClientError({"Error": {"Code": "KMS.NotFoundException", "Message": "no"}}, "PutObject")),
    )
    assert run(folder, "--kms-key", "alias/none") == 1
    assert "--kms-key cannot be used with bucket films-of-a-test (KMS.NotFoundException)" in message(capsys)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject"),
            "access to bucket films-of-a-test is denied (writing set/x/",
        ),
        (
            ClientError({"Error": {"Code": "ExpiredToken", "Message": "no"}}, "PutObject"),
            "AWS does not take the credentials (ExpiredToken)",
        ),
        (ClientError({"Error": {"Code": "Odd{1}", "Message": "{x}\nsecond line"}}, "PutObject"), "writing set/x/"),
        (EndpointConnectionError(endpoint_url="https://x"), "failed: Could not connect to the endpoint URL"),
        (NoCredentialsError(), "there are no AWS credentials"),
    ],
)
def test_what_s3_refuses_is_one_line(folder, bucket, capsys, monkeypatch, error, line):
    monkeypatch.setattr(bucket, "put_object", failing(error))
    assert run(folder) == 1
    assert line in message(capsys)
