"""predict.py: the same answers from a bundle, a server and an endpoint; what fails fails alone, in one line."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import images
import lambda_stand_ins
from hosting import tiny_bundle
from thorax.labels import LabelSpace
from thorax.serving.classifier import Classifier
from thorax_launch import clients
from thorax_launch.cli import predict


@pytest.fixture
def shelf(tmp_path) -> Path:
    images.put(tmp_path / "images" / "a.png", seed=1)
    images.put(tmp_path / "images" / "sub" / "b.jpeg", seed=2)
    return tmp_path / "images"


@pytest.fixture
def endpoint(site, monkeypatch):
    """The site behind an endpoint named chest, for boto3."""
    with lambda_stand_ins.endpoint("chest", site.address) as runtime:
        environment = {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime,
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("where", ["bundle", "url", "url with a path", "endpoint"])
def test_the_same_answers_wherever_the_model_is(where, findings, site, endpoint, shelf, capsys):
    model = {
        "bundle": str(findings),
        "url": site.address,
        "url with a path": f"{site.address}/invocations",
        "endpoint": "chest",
    }[where]
    assert predict.main([model, str(shelf), str(shelf / "a.png"), "--json"]) == 0
    shown = lines(capsys.readouterr().out)
    assert [row["image"] for row in shown] == ["a.png", "sub/b.jpeg", "a.png"]
    expected = Classifier.load(findings, threads=1).predict([shelf / "a.png", shelf / "sub" / "b.jpeg"])
    assert np.allclose([row["probabilities"] for row in shown[:2]], expected, atol=1e-6)
    assert shown[0]["labels"] == ["Effusion", "Mass", "Nodule"]


def test_a_table_of_three_classes_shows_no_cuts(tmp_path, shelf, capsys):
    model = tiny_bundle(tmp_path / "model", LabelSpace(("A", "B", "C"), "multiclass"))
    assert predict.main([str(model), str(shelf)]) == 0
    table = capsys.readouterr().out
    assert "cut" not in table and "predicted" in table


def test_a_table_of_many_labels_has_all_that_are_predicted(tmp_path, shelf, capsys):
    names = ["Mass [b]", *(f"L{k}" for k in range(11))]
    model = tiny_bundle(tmp_path / "model", LabelSpace(tuple(names), "multilabel"))
    p = Classifier.load(model, threads=1).predict([shelf / "a.png"])[0]
    assert predict.main([str(model), str(shelf / "a.png")]) == 0
    short = capsys.readouterr().out
    called = [name for name, value in zip(names, p, strict=True) if value >= 0.5]
    assert 4 < len(called) < 10  # more than the columns of a narrow table, and not all
    for name, value in zip(names, p, strict=True):
        assert (f"{name} {value:.3f}" in short) == (name in called or name in rest(names, p)[:4])
    assert predict.main([str(model), str(shelf / "a.png"), "--all"]) == 0
    whole = capsys.readouterr().out
    assert all(f"{name} {value:.3f}" in whole for name, value in zip(names, p, strict=True))


def rest(names, p):
    """Labels that are not predicted, the most probable first."""
    return [names[k] for k in np.argsort(-p, kind="stable") if p[k] < 0.5]


def test_linked_folders_are_searched(findings, shelf, capsys):
    (shelf / "linked").symlink_to(shelf / "sub")
    (shelf.parent / "other").mkdir()
    (shelf.parent / "other" / "link").symlink_to(shelf / "sub")
    assert predict.main([str(findings), str(shelf.parent / "other"), "--json"]) == 0
    assert [row["image"] for row in lines(capsys.readouterr().out)] == ["link/b.jpeg"]
    assert predict.main([str(findings), str(shelf), "--json"]) == 0
    assert [row["image"] for row in lines(capsys.readouterr().out)] == ["a.png", "sub/b.jpeg"]


def test_a_table(findings, shelf, capsys):
    assert predict.main([str(findings), str(shelf)]) == 0
    table = capsys.readouterr().out
    for text in ("a.png", "sub/b.jpeg", "Effusion (threshold 0.400)", "Nodule (threshold 0.600)"):
        assert text in table
    row = Classifier.load(findings, threads=1).predict([shelf / "a.png"])[0]
    assert all(f"{p:.3f}" in table for p in row)


def test_heat_maps_are_written(findings, endpoint, shelf, tmp_path, capsys):
    for model in (str(findings), "chest"):
        out = tmp_path / model.replace("/", "_")
        assert predict.main([model, str(shelf), "--explain", str(out), "--json"]) == 0
        assert sorted(file.name for file in out.iterdir()) == sorted(
            f"{image}.{label}.png" for image in ("a.png", "sub__b.jpeg") for label in ("Effusion", "Mass", "Nodule")
        )
        assert Image.open(out / "a.png.Mass.png").size == (32, 32)
        shown = lines(capsys.readouterr().out)
        assert shown[0]["heat_maps"]["Mass"] == str(out / "a.png.Mass.png")
    assert (
        predict.main([str(findings), str(shelf / "a.png"), "--explain", str(tmp_path / "one"), "--label", "Nodule"])
        == 0
    )
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["a.png.Nodule.png"]


def test_images_of_one_name_keep_apart(findings, shelf, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("dup1/x.png", "dup2/x.png", "dup1__x.png")):
        images.put(tmp_path / name, seed=k)
    words = ["dup1/x.png", "dup2", "dup1__x.png", "../" + tmp_path.name + "/dup1/x.png"]
    assert predict.main([str(findings), *words, "--explain", "maps/in", "--label", "Mass", "--json"]) == 0
    shown = lines(capsys.readouterr().out)
    assert [row["image"] for row in shown] == ["dup1/x.png", "dup2/x.png", *words[2:]]
    maps = [row["heat_maps"]["Mass"] for row in shown]
    assert maps[:3] == [
        "maps/in/dup1__x.png.Mass.png",
        "maps/in/dup2__x.png.Mass.png",
        "maps/in/dup1__x.png-2.Mass.png",
    ]
    assert {str(file) for file in Path("maps").rglob("*.png")} == set(maps)
    assert len(set(maps)) == 4


def test_a_label_without_a_folder_for_its_map_is_refused(findings, shelf, capsys):
    assert predict.main([str(findings), str(shelf), "--label", "Mass"]) == 1
    assert (
        capsys.readouterr().err
        == "error: --label Mass says of which label --explain DIR draws heat maps; give --explain DIR too\n"
    )


def test_the_servers_own_form(findings, shelf, capfdbinary):
    assert predict.main([str(findings), str(shelf / "a.png"), "--accept", "text/csv"]) == 0
    numbers = capfdbinary.readouterr().out.decode().strip().split(",")
    assert np.allclose(
        [float(n) for n in numbers], Classifier.load(findings, threads=1).predict([shelf / "a.png"])[0], atol=1e-6
    )


def test_an_image_that_fails_does_not_stop_the_others(findings, shelf, capsys):
    images.put(shelf / "bad.png", b"no image")
    assert predict.main([str(findings), str(shelf), "--json"]) == 1
    captured = capsys.readouterr()
    assert [("error" in row, row["image"]) for row in lines(captured.out)] == [
        (False, "a.png"),
        (True, "bad.png"),
        (False, "sub/b.jpeg"),
    ]
    assert captured.err.startswith("error: bad.png: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("published", [True, False])
def test_an_image_over_the_limit_is_sent_smaller(site, tmp_path, published, capsys):
    """Whether the server names its limit or only says 413."""
    site.limit, site.published = 60_000, published
    noise = np.random.default_rng(0).integers(0, 255, (700, 900), dtype=np.uint8)
    images.put(tmp_path / "large.png", images.data(noise))
    assert predict.main([site.address, str(tmp_path / "large.png"), "--json"]) == 0
    assert site.sizes[-1] <= 60_000
    assert (site.sizes[0] <= 60_000) == published
    assert len(lines(capsys.readouterr().out)[0]["probabilities"]) == 3


def test_a_smaller_image_is_as_large_as_the_limit_allows():
    image = images.data(images.smooth(900, 1200))
    sizes = [
        Image.open(io.BytesIO(clients.smaller(image, "an image", limit))).size for limit in (10**6, 40_000, 12_000)
    ]
    assert sizes[0] == (1200, 900)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < sizes[0]
    with pytest.raises(clients.ThoraxError, match="an image cannot be made small enough"):
        clients.smaller(image, "an image", 100)


def test_a_busy_server_is_asked_again(site, findings, shelf):
    site.busy = 3
    waits: list[float] = []
    image = (shelf / "a.png").read_bytes()
    response = clients.invoke(clients.ServerClient(site.address), image, "a", "application/json", wait=waits.append)
    assert (response.status, waits) == (200, [7.0, 14.0, 21.0])
    site.busy = 99
    with pytest.raises(clients.ThoraxError, match="busy"):
        clients.invoke(clients.ServerClient(site.address), image, "a", "application/json", wait=waits.append)
    assert 99 - site.busy == clients.TRIES


def test_an_image_over_the_limit_goes_by_way_of_s3(site, tmp_path, monkeypatch, capsys):
    """The image is put, named to the server, and taken away again."""
    calls: list[tuple[str, str, int]] = []

    def s3(method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        calls.append((method, path, int(headers.get("X-Amz-Decoded-Content-Length", len(body)))))
        return 200, {"ETag": '"x"'}, b""

    with lambda_stand_ins.serving(s3) as place:
        for name, value in {
            "AWS_ENDPOINT_URL_S3": place,
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        }.items():
            monkeypatch.setenv(name, value)
        site.limit = 1000
        images.put(tmp_path / "large.png", images.data(images.smooth()))
        assert predict.main([site.address, str(tmp_path / "large.png"), "--bucket", "images"]) == 1
    # The server has no S3 here and says so; that it was asked for the place is what counts.
    assert "S3" in capsys.readouterr().err
    assert [call[0] for call in calls] == ["PUT", "DELETE"]
    assert calls[0][1].startswith("/images/thorax-predict/")
    assert calls[0][2] > 1000 > site.sizes[-1]


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("no/such", "no/such is neither a bundle's folder, nor a URL, nor the name of an endpoint"),
        ("ftp://host", "ftp://host is no address of a server"),
        ("http://127.0.0.1:abc", "http://127.0.0.1:abc is no address of a server"),
        ("http://[::1", "http://[::1 is no address of a server"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9 does not answer"),
        ("nobody", "endpoint nobody: ValidationError: Endpoint nobody"),
    ],
)
def test_nobody_there(model, shown, endpoint, shelf, capsys):
    assert predict.main([model, str(shelf / "a.png")]) == 1
    error = capsys.readouterr().err
    assert shown in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("image", "shown"), [("nosuch.png", "nosuch.png does not exist"), ("empty", "empty holds no images")]
)
def test_no_images_there(findings, tmp_path, monkeypatch, image, shown, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert predict.main([str(findings), image]) == 1
    assert capsys.readouterr().err.startswith(f"error: {shown}")
