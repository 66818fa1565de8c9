"""Weights as others publish them: formats, wrappers, whole networks, labels of the head, channels; nothing is run."""

from __future__ import annotations

import argparse
import io
import json
import tarfile

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from networks import random_images, with_statistics
from thorax.errors import ThoraxError
from thorax.models import build, find_weights, fit_weights
from thorax.models.weights_file import read_weights
from thorax.models.weights_source import XRAY_VISION, input_statistics, statistics_warning
from thorax.models.weights_summary import summary


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(1)
    return with_statistics(torchvision.models.resnet18(num_classes=5)).eval()


def save(folder, content, name="w.pt"):
    torch.save(content, folder / name)
    return folder / name


def put(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def without_head(state):
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def same_answers(net, theirs):
    x = random_images(3)
    torch.testing.assert_close(net.eval()(x), theirs(x))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: put("module.", s),
        lambda s: put("model.", s),
        lambda s: put("module.encoder_q.", s) | put("module.encoder_k.", {k: v * 0 for k, v in s.items()}),
        lambda s: {"epoch": 3, "arch": "resnet18", "state_dict": put("module.backbone.", s)},
        lambda s: {
            "student": put("module.backbone.", {k: v * 0 for k, v in s.items()}),
            "teacher": put("backbone.", s),
        },
        lambda s: {
            "model": s,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
            "args": argparse.Namespace(lr=1),
        },
        lambda s: {
            "pytorch-lightning_version": "2.4",
            "state_dict": put("model.net.", s),
            "hyper_parameters": {"lr": 1},
        },
        lambda s: {"state_dict": put("_orig_mod.", s)},
    ],
    ids=["DataParallel", "model", "MoCo", "nested", "DINO", "Namespace", "Lightning", "compiled"],
)
def test_wrappers_are_taken_off(wrap, theirs, tmp_path):
    net = build("resnet18", 3, 5)
    fit = fit_weights(net, save(tmp_path, wrap(theirs.state_dict())))
    assert (fit.fitted, fit.total, fit.missing, fit.shapes) == (100, 100, [], [])
    same_answers(net, theirs)


def test_a_backbone_without_a_head(theirs, tmp_path):
    net = build("resnet18", 3, 2)
    fit = fit_weights(net, save(tmp_path, put("backbone.", without_head(theirs.state_dict()))))
    assert fit.fitted == fit.total == 100
    assert fit.notes == ["head fc.weight, fc.bias is new"]
    assert torch.equal(net.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "w.bin", "named_otherwise"])
def test_every_format_by_its_content(name, theirs, tmp_path):
    state, file = theirs.state_dict(), tmp_path / name
    if name == "w.bin":
        torch.save(state, file)
    elif name == "w.npz":
        np.savez(file, **{key: value.numpy() for key, value in state.items()})
    else:
        save_file(state, file)
    net = build("resnet18", 3, 5)
    assert fit_weights(net, file).fitted == 100
    same_answers(net, theirs)


def test_a_whole_network_is_read_without_its_code(theirs, tmp_path):
    """As torchxrayvision and JumpStart publish theirs: torch.save(net). Its classes are never called."""
    called = []

    class Net(torchvision.models.ResNet):
        def __setstate__(self, state):
            called.append(state)

    Net.__module__, Net.__qualname__ = "torchvision.models.resnet", "Net"
    torchvision.models.resnet.Net = Net
    try:
        net = Net(torchvision.models.resnet.BasicBlock, [2, 2, 2, 2], num_classes=5)
        net.load_state_dict(theirs.state_dict())
        file = save(tmp_path, net)
    finally:
        del torchvision.models.resnet.Net
    fitted = build("resnet18", 3, 5)
    assert fit_weights(fitted, file).fitted == 100
    same_answers(fitted, theirs)
    assert called == []


def test_a_whole_network_in_torchs_old_format_says_so(tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ThoraxError, match=r"the format of torch before 1\.6, which cannot be read without running"):
        read_weights(tmp_path / "old.pt")


def test_a_jumpstart_archive(theirs, tmp_path):
    """s3://jumpstart-cache-prod-REGION/.../train-pytorch-ic-resnet18.tar.gz lies in the channel as it is."""
    buffer = io.BytesIO()
    torch.save(theirs, buffer)
    with tarfile.open(tmp_path / "train-pytorch-ic-resnet18.tar.gz", "w:gz") as tar:
        for name, content in (("artifacts/resnet18.pt", buffer.getvalue()), ("artifacts/labels.json", b"{}")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    net = build("resnet18", 3, 5)
    assert fit_weights(net, find_weights(tmp_path)).fitted == 100
    same_answers(net, theirs)


@pytest.mark.parametrize("network", ["resnet50", "squeezenet1_1", "cnn5"])
def test_another_network_is_refused(network, theirs, tmp_path):
    file = save(tmp_path, torchvision.models.resnet18(num_classes=2).state_dict())
    with pytest.raises(ThoraxError, match=r"does not fit the network: \d+ of \d+ tensors fit; .*`thorax weights show"):
        fit_weights(build(network, 3, 2), file)


def test_what_does_not_fit_is_told_with_counts(theirs, tmp_path):
    state = theirs.state_dict()
    del state["layer4.1.conv2.weight"]
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 5, 5)
    state["extra.weight"] = torch.zeros(1)
    fit = fit_weights(build("resnet18", 3, 5), save(tmp_path, state))
    assert (fit.fitted, fit.total) == (98, 100)
    assert fit.notes == [
        "1 tensor of the network is not in the file and is as drawn at random: layer4.1.conv2.weight",
        "1 tensor of another shape: layer1.0.conv1.weight (64, 64, 5, 5) for (64, 64, 3, 3)",
        "1 tensor of the file is not in this network: extra.weight",
    ]


def test_values_that_are_not_finite_are_named(theirs, tmp_path):
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    (note,) = fit_weights(build("resnet18", 3, 5), save(tmp_path, state)).notes
    assert note == "not finite (NaN or infinity) are values in layer2.0.conv1.weight: take an earlier checkpoint"


# -- The head --------------------------------------------------------------------------------------------------------


def test_rows_of_the_head_go_by_label(theirs, tmp_path):
    names = ["Edema", "Pneumonia", "Mass", "Effusion", "Hernia"]
    file = save(tmp_path, {"state_dict": theirs.state_dict(), "classes": names})
    net = build("resnet18", 3, 3)
    fresh = net.fc.weight.detach().clone()
    fit = fit_weights(net, file, ("PNEUMONIA", "Pleural effusion", "Fracture"))
    assert torch.equal(net.fc.weight[:2], theirs.fc.weight[[1, 3]])
    assert torch.equal(net.fc.bias[:2], theirs.fc.bias[[1, 3]])
    assert torch.equal(net.fc.weight[2], fresh[2])
    assert fit.rows == ("PNEUMONIA", "Pleural effusion")
    assert fit.notes == ["head fc.weight, fc.bias: by name PNEUMONIA, Pleural effusion; new Fracture"]


def test_other_labels_of_the_same_number_leave_the_head_new(theirs, tmp_path):
    file = save(tmp_path, {"state_dict": theirs.state_dict(), "classes": ["cat", "dog", "hen", "cow", "pig"]})
    net = build("resnet18", 3, 5)
    fresh = net.fc.weight.detach().clone()
    (note,) = fit_weights(net, file, ("A", "B", "C", "D", "E")).notes
    assert torch.equal(net.fc.weight, fresh)
    assert note == (
        "head fc.weight, fc.bias is new: of its labels (cat, dog, hen, ... (5 in all)) none is one of A, B, C, ... (5"
        " in all)"
    )


def test_labels_of_safetensors_and_of_classes_by_index(theirs, tmp_path):
    names = ("Edema", "Pneumonia", "Mass", "Effusion", "Hernia")
    save_file(theirs.state_dict(), tmp_path / "w.safetensors", metadata={"labels": json.dumps(names)})
    assert read_weights(tmp_path / "w.safetensors").labels == names
    by_index = {name: k for k, name in reversed(list(enumerate(names)))}
    assert read_weights(save(tmp_path, {"model": theirs.state_dict(), "classes": by_index})).labels == names


def test_torchxrayvisions_densenet(tmp_path):
    """Its own class, its 18 labels by name; NaN thresholds mark outputs that were never trained."""
    xrv = pytest.importorskip("torchxrayvision")
    net = with_statistics(xrv.models.DenseNet()).eval()
    assert tuple(xrv.datasets.default_pathologies) == XRAY_VISION
    for content in (net, net.state_dict()):
        ours = build("densenet121", 1, 2)
        fit = fit_weights(ours, save(tmp_path, content), ("Effusion", "Pneumonia"))
        assert fit.fitted == fit.total
        x = random_images(1)
        torch.testing.assert_close(ours.eval()(x), net.classifier(net.features2(x))[:, [7, 8]], atol=1e-4, rtol=1e-4)
        assert str(fit.statistics).startswith("torchxrayvision (-1024 to 1024): mean 0.5")
    thresholds = torch.full((18,), 0.5)
    thresholds[8] = float("nan")
    fit = fit_weights(ours, save(tmp_path, net.state_dict() | {"op_threshs": thresholds}), ("Effusion", "Pneumonia"))
    assert fit.rows == ("Effusion",)


# -- Channels --------------------------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), size=st.sampled_from([(32, 32), (33, 40)]))
def test_grey_gives_the_same_through_one_channel_and_three(seed, size, tmp_path_factory):
    """Either way: three equal channels through a first layer of three, and one through its sum (or thirds)."""
    folder = tmp_path_factory.mktemp("w")
    torch.manual_seed(seed)
    grey = torch.randn(2, 1, *size)
    for have, want in ((3, 1), (1, 3)):
        old, new = build("cnn5", have, 1).eval(), build("cnn5", want, 1).eval()
        fit_weights(new, save(folder, old.state_dict()))
        torch.testing.assert_close(
            new(grey.expand(-1, want, -1, -1)), old(grey.expand(-1, have, -1, -1)), atol=1e-5, rtol=1e-4
        )


# -- What it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_show_names_the_network(name, tmp_path):
    net = torchvision.models.get_model(name, num_classes=7)
    facts = summary(save(tmp_path, {"state_dict": put("module.", net.state_dict())}))
    assert facts["network"] == name
    assert (facts["input channels"], facts["outputs"], facts["prefix"]) == (3, 7, "module.")
    assert facts["parameters"] == sum(p.numel() for p in net.parameters())


class Chosen:
    def __init__(self, normalization, mean=0.5, std=0.25):
        self.normalization, self.mean, self.std = normalization, mean, std


def test_statistics_follow_the_weights(tmp_path):
    file = save(tmp_path, torchvision.models.resnet18().state_dict())
    found = read_weights(file)
    wanted = input_statistics(found, found.largest[1], "resnet18")
    assert wanted is not None and wanted.mean == (0.485, 0.456, 0.406)
    warning = statistics_warning(wanted, Chosen("image"), ("image", "imagenet"))
    assert warning.endswith("training makes up for it in part: set normalization=imagenet")
    assert statistics_warning(wanted, Chosen("imagenet"), ()) == ""
    assert statistics_warning(wanted, Chosen("fixed", wanted.mean, wanted.std), ()) == ""
    lite = input_statistics(found, found.largest[1], "timm/tf_efficientnet_lite0")
    assert statistics_warning(lite, Chosen("fixed", 0.5, 0.5), ()) == ""
    assert "mean 0.5,0.5,0.5" in statistics_warning(lite, Chosen("fixed"), ())
