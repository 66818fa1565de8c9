"""`thorax ensemble`: one bundle of several, that answers as the mean of its members wherever bundles answer."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import images as make
from hosting import Client, npy
from thorax.data.images import Preprocessing
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.scoring.ensembling import make_ensemble
from thorax.serving.app import create_app
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings
from thorax_launch.cli import main as thorax
from written_bundles import described, network, write

THREE = LabelSpace(("a", "b", "c"), "multiclass")
IDS = [f"i{k}" for k in range(40)]


def answers(seed: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """(targets, probabilities) of 40 images, of which most are right."""
    truth = np.random.default_rng(0).integers(0, 2, (40, labels))
    noise = np.random.default_rng(seed).normal(0, 1.2, (40, labels))
    return truth, 1 / (1 + np.exp(-(3 * truth - 1.5 + noise)))


def job(folder: Path, seed: int, name: str = "shufflenet_v2_x0_5", side: int = 32, **more) -> Path:
    """A job's folder: a bundle that was never trained, and answers on validation that it might have given."""
    space = more.pop("space", make.BINARY)
    ids, labels = more.pop("ids", IDS), space.outputs
    net = network(len(labels), name=name)
    with_seed(net, seed)
    split = "id,patient,part\n" + "".join(f"{i},p{i},{'validation' if i in ids else 'train'}\n" for i in IDS)
    write(folder / "model", net, space, Preprocessing(side, side), network=name, **more)
    (folder / "model/split.csv").write_text(split)
    stored = json.loads((folder / "model/bundle.json").read_text())
    described(folder / "model", files_sha256={k: v for k, v in stored["files_sha256"].items() if k != "split.csv"})
    truth, p = answers(seed, len(labels))
    (folder / "output/data").mkdir(parents=True)
    with (folder / "output/data/predictions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        kinds = [f"{kind}:{label}" for kind in ("probability", "target") for label in labels]
        table.writerow(["part", "id", "patient", *kinds])
        for k, i in enumerate(IDS):
            if i in ids:
                table.writerow(["validation", i, f"p{i}", *p[k], *truth[k]])
    return folder


def with_seed(net, seed: int) -> None:
    """Another head, and batch norms that let the images through."""
    import torch

    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    net.train()(torch.randn(8, 1, 64, 64))
    net.eval()
    with torch.no_grad():
        head = next(m for m in reversed(list(net.modules())) if isinstance(m, torch.nn.Linear))
        head.weight.normal_(0, 0.5)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Three jobs, of two networks and two sizes."""
    root = tmp_path_factory.mktemp("jobs")
    job(root / "a", 1)
    job(root / "b", 2)
    job(root / "c", 3, "mobilenet_v3_small", 48)
    return root


@pytest.fixture(scope="module")
def alike(jobs, tmp_path_factory):
    """Two members that see the same images."""
    return make_ensemble([jobs / "a", jobs / "b"], tmp_path_factory.mktemp("alike") / "e", say=print).folder


@pytest.fixture(scope="module")
def mixed(jobs, tmp_path_factory):
    """Three members, of which one sees larger images."""
    return make_ensemble([jobs / n for n in "abc"], tmp_path_factory.mktemp("mixed") / "e", say=print).folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return [make.put(folder / f"{k}.png", seed=k) for k in range(5)]


def by_hand(ensemble: Path, members, pictures) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the members' own answers, through the calibration in bundle.json; and their standard deviation."""
    each = np.stack([Classifier.load(m, precision="float32").predict(pictures) for m in members]).astype(np.float64)
    stored = json.loads((ensemble / "bundle.json").read_text())["calibration"]["PNEUMONIA"]
    p = each.mean(0)
    z = np.log(p / (1 - p)) / stored["temperature"] + stored.get("bias", 0)
    return 1 / (1 + np.exp(-z)), each.std(0)


def test_the_mean_of_members_of_one_kind_of_image(jobs, alike, pictures):
    classifier = Classifier.load(alike, precision="float32")
    p, spread = by_hand(alike, [jobs / "a", jobs / "b"], pictures)
    np.testing.assert_allclose(classifier.predict(pictures), p, atol=1e-5)
    np.testing.assert_allclose(classifier.disagreement(pictures), spread, atol=1e-5)
    assert np.ptp(p) > 0.01 and spread.max() > 0.01
    assert classifier.prepare(pictures[0]).shape == (32, 32)


def test_members_of_several_sizes_each_see_their_own(jobs, mixed, pictures):
    classifier = Classifier.load(mixed, precision="float32", batch=2)
    p, spread = by_hand(mixed, [jobs / n for n in "abc"], pictures)
    np.testing.assert_allclose(classifier.predict(pictures), p, atol=1e-5)
    np.testing.assert_allclose(classifier.disagreement(pictures), spread, atol=1e-5)
    assert classifier.prepare(pictures[0]).shape == (32 * 32 + 48 * 48,)
    found = classifier.explain(pictures[0])
    assert found.map.shape == found.image.shape == (32, 32)
    maps = [Classifier.load(jobs / n).explain(pictures[0]).map for n in "abc"]
    maps[2] = np.asarray(Image.fromarray(maps[2]).resize((32, 32), Image.Resampling.BILINEAR))
    mean = np.mean(maps, axis=0)
    np.testing.assert_allclose(found.map, mean / max(mean.max(), 1e-9), atol=1e-4)


def test_what_it_says_of_itself(jobs, mixed):
    bundle = Bundle.load(mixed)
    stored = json.loads((mixed / "bundle.json").read_text())
    assert bundle.network == "ensemble of 3: shufflenet_v2_x0_5, mobilenet_v3_small"
    assert (stored["version"], [m.network for m in bundle.members][2]) == (3, "mobilenet_v3_small")
    assert stored["ensemble"]["fitted_on"] == "the members' answers on the validation images that they share"
    truth = answers(1, 1)[0]
    each = np.stack([answers(seed, 1)[1] for seed in (1, 2, 3)])
    assert stored["ensemble"]["limits"]["PNEUMONIA"] == pytest.approx(np.quantile(each.std(0), 0.95), abs=1e-4)
    from sklearn.metrics import roc_auc_score

    auc = stored["metrics"]["validation"]["macro"]["auc"]["value"]
    assert auc == pytest.approx(roc_auc_score(truth, each.mean(0)), abs=1e-6)
    assert len({Bundle.load(jobs / n).version for n in "abc"} | {bundle.version}) == 4
    with pytest.raises(ThoraxError, match="is an ensemble of 3 networks; take one of its `members`"):
        bundle.build_network()


def test_out_of_fold_answers(tmp_path, pictures):
    for k in range(2):
        job(tmp_path / f"cv/fold-{k}", k + 1, ids=IDS[20 * k : 20 * k + 20])
    made = make_ensemble([tmp_path / "cv"], tmp_path / "e", say=print)
    assert [m.version for m in made.members] == [Bundle.load(tmp_path / f"cv/fold-{k}").version for k in range(2)]
    assert made.ensemble["images"] == 40 and made.ensemble["fitted_on"].startswith("out-of-fold answers")
    assert "limits" not in made.ensemble  # no image has answers of several members
    parts = [line.split(",")[2] for line in (made.folder / "split.csv").read_text().splitlines()[1:]]
    assert parts == ["train"] * 40
    shutil.rmtree(tmp_path / "cv/fold-1/model")
    with pytest.raises(ThoraxError, match="fold-1 of 2 folds have no bundle yet"):
        make_ensemble([tmp_path / "cv"], tmp_path / "again")


def test_a_server_answers_with_disagreement_and_warnings(jobs, mixed, pictures):
    service = Service(Classifier.load(mixed, precision="float32"), ServerSettings(workers=1, threads=1, max_images=9))
    with Client(create_app(lambda: service)).running() as client:
        told = json.loads(client.ask("GET", "/metadata").body)
        assert (told["limits"]["max_images"], told["ensemble"]["networks"][2]) == (3, "mobilenet_v3_small")
        headers = {"Content-Type": "image/png", "Accept": "application/json;verbose"}
        for k, picture in enumerate(pictures):
            reply = json.loads(client.ask(body=picture.read_bytes(), headers=headers, query="explain=true").body)
            p, spread = by_hand(mixed, [jobs / n for n in "abc"], [pictures[k]])
            assert reply["probabilities"] == pytest.approx(p[0], abs=1e-5)
            assert reply["disagreement"] == pytest.approx(spread[0], abs=1e-5)
            warned = any("the 3 members disagree about PNEUMONIA" in line for line in reply["warnings"])
            assert warned == (spread[0, 0] > told["ensemble"]["limits"]["PNEUMONIA"])
            assert reply["heat_maps"]
        bare = json.loads(client.ask(body=pictures[0].read_bytes(), headers={"Content-Type": "image/png"}).body)
        assert len(bare) == 2
        normalised = {"Content-Type": "application/x-npy; normalized=true"}
        reply = client.ask(body=npy(np.zeros((1, 32, 32), np.float32)), headers=normalised)
        assert (reply.status, b"in different ways; send pixels" in reply.body) == (400, True)


def test_the_commands(jobs, mixed, pictures, tmp_path, capsys):
    out = tmp_path / "e"
    assert thorax(["ensemble", str(jobs / "a"), str(jobs / "b"), "--out", str(out)]) == 0
    assert f"wrote {out}: weights {Bundle.load(out).version}" in capsys.readouterr().out
    assert thorax(["verify", str(mixed)]) == 0
    assert thorax(["predict", str(mixed), str(pictures[0]), "--json"]) == 0
    assert "disagreement" in json.loads(capsys.readouterr().out.splitlines()[-1])
    for k, picture in enumerate(pictures):
        (folder := tmp_path / "data" / make.BINARY.classes[k % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / f"{k}.png")
    table = tmp_path / "t.csv"
    assert thorax(["batch", "--local", str(mixed), "--data", str(tmp_path / "data"), "--out", str(table)]) == 0
    words = ["--data", str(tmp_path / "data"), "--html", str(tmp_path / "r.html"), "--resamples", "5"]
    assert thorax(["evaluate", str(mixed), *words, "--compare", str(jobs / "a")]) == 0
    assert "ensemble of 3" in (tmp_path / "r.html").read_text()
    with table.open() as file:
        rows = {row["id"]: float(row["probability:PNEUMONIA"]) for row in csv.DictReader(file)}
    want = by_hand(mixed, [jobs / n for n in "abc"], pictures)[0]
    for k in range(5):
        assert rows[f"{make.BINARY.classes[k % 2]}/{k}.png"] == pytest.approx(want[k, 0], abs=0.01)
    assert thorax(["optimize", str(mixed)]) == 1
    assert "is an ensemble: optimize each bundle that it is made of" in capsys.readouterr().err


def test_an_archive_of_it(mixed, pictures, tmp_path):
    from thorax_launch.sagemaker.bundles import _complete

    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(mixed, ".")
    want = Classifier.load(mixed, precision="float32").predict(pictures)
    got = Classifier.load(tmp_path / "model.tar.gz", precision="float32").predict(pictures)
    np.testing.assert_array_equal(got, want)
    names = {p.relative_to(mixed).as_posix(): b"" for p in mixed.rglob("*") if p.is_file()}
    assert _complete(names, "x") is names


def test_exclusive_classes(tmp_path, pictures):
    for k in (1, 2):
        folder = job(tmp_path / str(k), k, space=THREE)
        file = folder / "output/data/predictions.csv"
        rows = list(csv.DictReader(io.StringIO(file.read_text())))
        for n, row in enumerate(rows):
            p = np.random.default_rng(100 * k + n).dirichlet(np.where(np.arange(3) == n % 3, 5, 1))
            row |= {f"probability:{c}": p[j] for j, c in enumerate("abc")}
            row |= {f"target:{c}": int(n % 3 == j) for j, c in enumerate("abc")}
        with file.open("w", newline="") as out:
            table = csv.DictWriter(out, rows[0])
            table.writeheader()
            table.writerows(rows)
    made = make_ensemble([tmp_path / "1", tmp_path / "2"], tmp_path / "e", say=print)
    p = Classifier(made, precision="float32").predict(pictures)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    mean = np.mean([Classifier.load(tmp_path / k, precision="float32").predict(pictures) for k in "12"], axis=0)
    assert (p.argmax(1) == mean.argmax(1)).all()


def test_damage_is_noticed_in_every_member(mixed, tmp_path, capsys):
    own = shutil.copytree(mixed, tmp_path / "e")
    file = own / "members/1/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(ThoraxError, match=r"model\.safetensors is damaged"):
        Classifier.load(own)
    assert thorax(["verify", str(own)]) == 1
    assert "members/1/model.safetensors is damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "ensemble.members is [], not a list of folders"),
        (["../a"], 'ensemble.members is ["../a"], not a list of folders'),
        (["members/../.."], "not a list of folders"),
        (["members/9"], "it has no bundle.json"),
        (["members/0"], "its members' preprocessings are not its own"),
        ("members/0", "not a list of folders"),
    ],
)
def test_hostile_descriptions(mixed, tmp_path, members, message):
    own = shutil.copytree(mixed, tmp_path / "e")
    described(own, ensemble={"members": members})
    with pytest.raises(ThoraxError) as caught:
        Bundle.load(own)
    assert message in str(caught.value)


def test_members_that_do_not_fit_are_refused(jobs, alike, tmp_path):
    job(tmp_path / "other", 4, space=LabelSpace(("NORMAL", "EDEMA"), "binary"))
    job(tmp_path / "partly", 5, ids=IDS[:30])
    job(tmp_path / "moved", 6)
    shutil.rmtree(tmp_path / "moved/output")
    for places, message in (
        (["a"], "needs two bundles or more, 1 bundle named"),
        (["a", "a"], "name each bundle once"),
        (["a", alike], "is an ensemble itself"),
        (["a", tmp_path / "other"], "have the same labels in one order"),
        (["a", tmp_path / "partly"], "partly the same and partly not"),
        (["a", tmp_path / "moved"], "lies without its job's answers"),
        (["a", tmp_path / "nothing"], "is not a bundle"),
    ):
        with pytest.raises(ThoraxError, match=message):
            make_ensemble([jobs / place for place in places], tmp_path / "e", say=print)
        assert not (tmp_path / "e").exists()
    with pytest.raises(ThoraxError, match="exists; name a new folder"):
        make_ensemble([jobs / "a", jobs / "b"], alike)


def test_fitted_on_images_that_are_given(jobs, pictures, tmp_path):
    for k, picture in enumerate(pictures):
        (folder := tmp_path / "data" / make.BINARY.classes[k % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / f"{k}.png")
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(Bundle.load(jobs / "a").folder, ".")
    made = make_ensemble([archive, jobs / "c"], tmp_path / "e", tmp_path / "data", say=print)
    assert made.ensemble["made_of"] == [str(archive), str(jobs / "c")]  # not where the archive was unpacked
    assert (made.ensemble["images"], made.ensemble["fitted_on"]) == (5, str(tmp_path / "data"))
    assert made.ensemble["limits"]["PNEUMONIA"] > 0
