"""`prepare check|stats|pack --instances N`: machines are processes, S3 is moto's server, one machine is the oracle."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

import images as xrays
from aws_calls import BUCKET, REGION, ROLE
from dicoms import data_set, deflated, written
from preparing import contents
from processing_containers import run_job
from thorax_launch.cli import prepare

Capture = pytest.CaptureFixture[str]
PLACE = ["--bucket", BUCKET, "--role", ROLE, "--region", REGION, "--yes"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a moto that other processes can ask."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def clients(server: str) -> Any:
    """A client of S3 for the tests themselves."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client("s3", endpoint_url=server, region_name=REGION, **keys)


@pytest.fixture
def s3(clients: Any, server: str, written_down: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty account; commands in this process ask the server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
    clients.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    clients.sent = lambda name: next(
        request for request in written_down.sent("CreateProcessingJob") if request["ProcessingJobName"] == name
    )
    return clients


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images in two classes, and one that is damaged, twice in both classes, of one grey; a text beside them."""
    root = tmp_path_factory.mktemp("set") / "films"
    for n in range(24):
        name = f"{'NORMAL' if n % 2 else 'PNEUMONIA'}/person{n // 3}_{n}.png"
        xrays.put(root / name, xrays.grey(60, 48 + n, seed=n))
    shutil.copy(root / "NORMAL" / "person0_1.png", root / "PNEUMONIA" / "person7_99.png")
    xrays.put(root / "NORMAL" / "person8_98.png", np.full((70, 70), 9, np.uint8))
    (root / "NORMAL" / "person5_broken.png").write_bytes((root / "NORMAL" / "person5_17.png").read_bytes()[:300])
    (root / "NORMAL" / "notes.txt").write_text("not an image")
    return root


def upload(s3: Any, folder: Path, prefix: str) -> str:
    for name, content in contents(folder).items():
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=content)
    return f"s3://{BUCKET}/{prefix}"


def run(*words: object) -> int:
    return prepare.main([str(word) for word in words])


def here(tmp_path: Path, *words: object, code: int = 0) -> Any:
    """What the command on one machine writes as JSON."""
    file = tmp_path / "one.json"
    assert run(*words, "--json", file, "--processes", 1) == code
    return json.loads(file.read_text())


def named(found: Any, folder: Path, address: str) -> Any:
    return json.loads(json.dumps(found).replace(f"{folder}/", f"{address}/").replace(str(folder), f"{address}/"))


def ran(s3: Any, name: str, root: Path) -> None:
    for one in run_job(s3.sent(name), s3, root):
        assert one.returncode == 0, one.stderr


def test_check_finds_what_one_machine_finds(s3: Any, films: Path, tmp_path: Path, capsys: Capture) -> None:
    """Duplicates of which each lies on another machine, the damaged image, the one grey: the same report."""
    place = upload(s3, films, "images")
    words = ["check", place, "--instances", 3, "--smallest", 50, *PLACE]
    assert run(*words, "--html", tmp_path / "no.html", "--job-name", "look") == 0
    assert "the same command with --resume look --wait fetches what it found" in capsys.readouterr().out
    ran(s3, "look", tmp_path)
    file, page = tmp_path / "many.json", tmp_path / "many.html"
    assert run(*words, "--resume", "look", "--json", file, "--html", page) == 1  # the damaged image is an error
    last = capsys.readouterr().out.splitlines()[-1]
    one = named(here(tmp_path, "check", films, "--smallest", 50, code=1), films, place)
    assert json.loads(file.read_text()) == one
    found = {finding["check"] for finding in one["findings"]}
    assert {"unreadable", "constant", "duplicate-labels", "duplicate-patients", "tiny"} <= found
    levels = [finding["level"] for finding in one["findings"]]
    assert last == f"27 images: {levels.count('error')} errors, {levels.count('warning')} warnings; {file}; {page}"
    assert page.read_text().count("data:image/png;base64,") > 5


def test_stats_are_those_of_one_machine_to_the_last_digit(s3: Any, films: Path, tmp_path: Path) -> None:
    place = upload(s3, films, "images")
    words = ["stats", place, "--instances", 2, "--png", tmp_path / "many.png", *PLACE]
    assert run(*words, "--job-name", "count") == 0
    ran(s3, "count", tmp_path)
    file = tmp_path / "many.json"
    assert run(*words, "--resume", "count", "--wait", "--json", file) == 0
    assert json.loads(file.read_text()) == here(tmp_path, "stats", films)
    assert (tmp_path / "many.png").read_bytes()[:4] == b"\x89PNG"


def test_packed_bytes_are_those_of_one_machine_and_a_rerun_does_only_what_is_missing(
    s3: Any, films: Path, tmp_path: Path, capsys: Capture
) -> None:
    place, out = upload(s3, films, "images"), f"s3://{BUCKET}/thorax/packed"
    split = tmp_path / "split.csv"
    assert run("split", films, "--out", split) == 0
    flags = ["--split", split, "--shard-images", 3, "--size", 32]
    words = ["pack", place, out, "--instances", 2, *flags, *PLACE]
    assert run(*words, "--job-name", "pack-1") == 0
    ended = run_job(s3.sent("pack-1"), s3, tmp_path / "first")
    assert ended[0].returncode == 1  # the first machine ends with the one that met the damaged image
    last = ended[0].stderr.splitlines()[-1]
    assert f"{place}/NORMAL/person5_broken.png cannot be read" in last
    assert "--skip-corrupt" in last
    assert "person5_broken.png" in (tmp_path / "first" / "algo-1" / "output" / "message").read_text()
    kept = shards(s3)
    assert kept
    again = [*words, "--skip-corrupt", "--resume", "pack-1", "--instances", 1]
    assert run(*again, "--job-name", "pack-2") == 0
    ended = run_job(s3.sent("pack-2"), s3, tmp_path / "second")
    assert [one.returncode for one in ended] == [0], ended[0].stderr
    done = sum(" is done" in line for one in ended for line in one.stdout.splitlines())
    assert done == len(shards(s3)) - len(kept)
    capsys.readouterr()
    assert run(*again, "--wait") == 0
    many_lines = capsys.readouterr().out.splitlines()
    assert run("pack", films, tmp_path / "one", *flags, "--skip-corrupt", "--processes", 1) == 0
    one_lines = capsys.readouterr().out.splitlines()
    counts = [[line.split(" into ")[0] for line in lines if ": packed " in line] for lines in (many_lines, one_lines)]
    assert counts[0] == counts[1]
    assert len(counts[0]) == 3  # of train, validation and test
    assert sum("1 image could not be read and was left out" in line for line in many_lines) == 1
    one, many = contents(tmp_path / "one"), below(s3, "thorax/packed/")
    assert one.keys() == many.keys()
    assert {k: v for k, v in many.items() if not k.endswith(".plan")} == {
        k: v for k, v in one.items() if not k.endswith(".plan")
    }


def shards(s3: Any) -> list[str]:
    return [name for name in below(s3, "thorax/packed/") if name.endswith(".tar")]


def below(s3: Any, prefix: str) -> dict[str, bytes]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    keys = [entry["Key"] for entry in found]
    return {key.removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def test_tables_and_headers_reach_every_machine(s3: Any, tmp_path: Path) -> None:
    """Labels and patients of the one part are in a table, patients of the other in DICOM headers; two are in both."""
    names = [f"a/{k:02d}.png" for k in range(12)]
    rows = [f"{name},{'NORMAL' if k % 2 else 'PNEUMONIA'},P{k // 2}" for k, name in enumerate(names)]
    train = xrays.table(tmp_path / "train", "\n".join(["path,label,patient", *rows, ""]), names)
    for k in range(12):
        ending = ("", ".dcm", ".123")[k % 3]
        scan = data_set(xrays.grey(80, 80, seed=100 + k), PatientID=f"mrn-{k // 2}")
        file = tmp_path / "test" / ("NORMAL" if k % 2 else "PNEUMONIA") / f"scan{k}{ending}"
        xrays.put(file, deflated(scan) if k == 4 else written(scan))
    places = {part: upload(s3, tmp_path / part, f"chest/{part}") for part in ("train", "test")}
    given = [word for part, place in places.items() for word in (f"--{part}", place)]
    words = ["check", *given, "--instances", 2, *PLACE]
    assert run(*words, "--job-name", "both") == 0
    ran(s3, "both", tmp_path / "machines")
    file = tmp_path / "many.json"
    assert run(*words, "--resume", "both", "--json", file) == 0
    local = [word for part in places for word in (f"--{part}", tmp_path / part)]
    one = here(tmp_path, "check", *local)
    assert [(part["images"], part["patients"]) for part in one["parts"]] == [(12, 6), (12, 6)]
    for part, place in places.items():
        one = named(one, tmp_path / part, place)
    assert json.loads(file.read_text()) == one
    assert train.is_dir()


def test_a_changed_object_ends_the_job_with_its_name(s3: Any, films: Path, tmp_path: Path) -> None:
    place = upload(s3, films, "images")
    assert run("stats", place, "--instances", 1, *PLACE, "--job-name", "late") == 0
    s3.put_object(Bucket=BUCKET, Key="images/NORMAL/person0_1.png", Body=b"other")
    (one,) = run_job(s3.sent("late"), s3, tmp_path)
    assert one.returncode == 1
    last = one.stderr.splitlines()[-1]
    assert f"machine 1 of 1: reading {place}/NORMAL/person0_1.png: it is gone or was changed since" in last
