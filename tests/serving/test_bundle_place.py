"""A bundle by its folder, its archive, its job's folder or its job's name, for every command that takes one."""

from __future__ import annotations

import tarfile

import pytest

from thorax.errors import ThoraxError
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_place import bundle_place
from thorax_launch.cli import batch, deploy, evaluate, leaderboard, optimize, predict, train
from thorax_launch.clients import BundleClient, client_for
from untrained import untrained


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with runs/first/model, runs/begun (no bundle yet), runs/sweep (a search)."""
    root = tmp_path_factory.mktemp("place")
    untrained(root / "runs/first/model")
    for folder in ("runs/begun/input/config", "runs/begun/checkpoints", "runs/begun/model", "runs/sweep"):
        (root / folder).mkdir(parents=True)
    (root / "runs/sweep/study.db").write_bytes(b"")
    with tarfile.open(root / "model.tar.gz", "w:gz") as tar:
        tar.add(root / "runs/first/model", ".")
    return root


NAMES = ["first", "runs/first", "runs/first/", "runs/first/model", "./runs/first", "model.tar.gz"]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_is_found_by_every_name(place, name, monkeypatch):
    monkeypatch.chdir(place)
    assert [*Bundle.load(name).labels] == ["PNEUMONIA"]
    assert isinstance(client_for(name), BundleClient)


def test_what_is_not_there_stays_as_it_is_and_a_name_of_aws_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my-endpoint", "runs/none"):
        assert str(bundle_place(name)) == str(bundle_place(bundle_place(name)))
    with pytest.raises(ThoraxError, match=r"none is not a bundle: it has no bundle\.json"):
        Bundle.load("none")


def test_a_job_without_a_bundle_and_a_search_are_said(place, monkeypatch):
    monkeypatch.chdir(place)
    with pytest.raises(ThoraxError, match="job runs/begun has no bundle: it did not come to its end"):
        Bundle.load("begun")
    with pytest.raises(ThoraxError, match=r"runs/sweep is a search of several jobs; name one of them"):
        Bundle.load("sweep")


@pytest.mark.parametrize("name", NAMES[:4])
def test_every_command_takes_it(place, name, monkeypatch, capsys):
    """Each gets as far as the next thing that is missing, which is not the bundle."""
    monkeypatch.chdir(place)
    for command, words, missing in (
        (evaluate, [name, "--data", "nowhere"], "--data nowhere does not exist"),
        (evaluate, ["first", "--data", "nowhere", "--compare", name], "--data nowhere does not exist"),
        (predict, [name, "nowhere.png"], "nowhere.png does not exist"),
        (batch, ["--local", name, "--data", "nowhere", "--out", "o.csv"], "--data nowhere is not a folder"),
        (optimize, [name, "--data", "nowhere"], "nowhere"),
        (deploy, ["--local", name, "--port", "99999"], "--port 99999"),
        (train, ["demo", "--local", "--model", name, "--train", "nowhere"], "--train nowhere does not exist"),
    ):
        assert command.main(words) == 1, command
        assert missing in capsys.readouterr().err


def test_a_search_is_named_by_its_path_too(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    messages = []
    for name in ("none", "runs/none"):
        assert leaderboard.main([name, "--local"]) == 1
        messages.append(capsys.readouterr().err)
    assert messages[0] == messages[1] and "no search none on this machine" in messages[0]
