"""Networks: shapes, weights in, frozen stages, activation checkpointing, and batch norm over all processes."""

from __future__ import annotations

import copy
import pickle
import tarfile

import pytest
import torch
import torchvision
from torch import nn

from thorax import models
from thorax.config.schema import NETWORKS
from thorax.errors import ThoraxError
from thorax.models.networks import (
    SyncBatchNormCPU,
    build,
    find_weights,
    freeze,
    load_weights,
    stages,
    sync_batchnorm,
    train_mode,
)

SIZES = {"alexnet": (63, 70), "cnn5": (32, 40)}


@pytest.fixture(autouse=True)
def _repeatable():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A ResNet-18 of five classes as torchvision saves it, with batch-norm statistics that are not the initial ones."""
    torch.manual_seed(1)
    net = torchvision.models.resnet18(num_classes=5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(net.state_dict(), file)
    return net.eval(), file


def images(channels: int = 1, count: int = 2, size: tuple[int, int] = (32, 40)) -> torch.Tensor:
    return torch.randn(count, channels, *size)


# --- shapes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_gives_its_logits(name, channels):
    net = build(name, channels, 5, dropout=0.2).eval()
    with torch.no_grad():
        assert net(images(channels, size=SIZES.get(name, (32, 40)))).shape == (2, 5)


def test_the_five_layer_network_leaves_three_by_five_at_its_own_size():
    net = build("cnn5", 1, 1)
    assert net.features(images(size=(112, 160))).shape == (2, 256, 3, 5)
    assert [layer[0].out_channels for layer in net.features] == [16, 32, 64, 128, 256]


def test_layers_are_torchvisions():
    """So that anybody's weights fit, and ours fit anybody's."""
    with torch.device("meta"):
        for name in ("resnet18", "resnet50", "resnet152", "alexnet"):
            assert list(build(name, 3, 7).state_dict()) == list(
                getattr(torchvision.models, name)(num_classes=7).state_dict()
            )


@pytest.mark.parametrize("name", ["resnet18", "alexnet", "cnn5"])
def test_dropout_is_for_training_alone(name):
    net, x = build(name, 1, 3, dropout=0.5), images(size=SIZES.get(name, (32, 40)))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.5}
    assert all(m.p == 0 for m in build(name, 1, 3).modules() if isinstance(m, nn.Dropout))


# --- stages


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_stages_hold_every_parameter_once_from_input_to_head(name, dropout):
    with torch.device("meta"):
        net = build(name, 1, 4, dropout)
    place = {id(p): k for k, p in enumerate(net.parameters())}
    held = [[place[id(p)] for p in stage.parameters()] for stage in stages(net)]
    assert sorted(k for stage in held for k in stage) == list(range(len(place)))
    assert [min(stage) for stage in held] == sorted(min(stage) for stage in held)
    assert [p.shape[0] for p in stages(net)[-1].parameters()] == [4, 4]


@pytest.mark.parametrize("name", ["resnet18", "cnn5"])
def test_frozen_stages_keep_weights_and_statistics(name):
    net = build(name, 1, 2)
    freeze(net, 1)
    before = copy.deepcopy(net.state_dict())
    train_mode(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net(images(count=4)).square().sum().backward()
    optimizer.step()
    head = {f"fc.{n}" for n in ("weight", "bias")}
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]) is (key not in head), key


def test_unfreezing_goes_down_stage_by_stage_and_up_again():
    net = build("resnet18", 1, 2)
    for trained in (1, 3, 6, 2):
        freeze(net, trained)
        train_mode(net)
        for k, stage in enumerate(reversed(stages(net))):
            assert {p.requires_grad for p in stage.parameters()} == {k < trained}
            norms = [m for m in stage.modules() if isinstance(m, nn.BatchNorm2d)]
            assert all(m.training is (k < trained) for m in norms)


# --- weights in


def test_torchvisions_weights_answer_as_before(published):
    theirs, file = published
    net = build("resnet18", 3, 5)
    assert load_weights(net, file) == []
    x = images(3)
    torch.testing.assert_close(net.eval()(x), theirs(x))


def test_a_first_layer_of_three_channels_sees_grey_as_before(published):
    theirs, file = published
    net = build("resnet18", 1, 5)
    assert load_weights(net, file) == ["first layer conv1.weight adapted from 3 input channels to 1"]
    x = images(1)
    torch.testing.assert_close(net.eval()(x), theirs(x.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_a_first_layer_of_one_channel_sees_three_equal_ones_as_before(tmp_path):
    grey = build("resnet18", 1, 5).eval()
    torch.save(grey.state_dict(), tmp_path / "grey.pt")
    net = build("resnet18", 3, 5)
    assert load_weights(net, tmp_path / "grey.pt") == ["first layer conv1.weight adapted from 1 input channels to 3"]
    x = images(1)
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
    x = images()
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
    told = str(caught.value)
    assert f"weights={file} does not fit the network" in told
    assert "missing: layer1.2.conv1.weight, layer1.2.bn1.weight, layer1.2.bn1.bias, ..." in told
    assert "choose the network that the file was saved from" in told
    assert "\n" not in told


def test_another_shape_is_told_with_both(published, tmp_path):
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
    with pytest.raises(ThoraxError, match=r"holds 0 weight files \(\.pt, \.pth, \.bin\); it must hold one"):
        find_weights(tmp_path)
    (tmp_path / "readme.txt").touch()
    (tmp_path / "w.pth").touch()
    assert find_weights(tmp_path) == find_weights(tmp_path / "w.pth") == tmp_path / "w.pth"
    (tmp_path / "x.pt").touch()
    with pytest.raises(ThoraxError, match="holds 2 weight files"):
        find_weights(tmp_path)


# --- activation checkpointing


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "cnn5"])
def test_activation_checkpointing_changes_nothing(name):
    """The same logits, gradients and batch-norm statistics as without, after two steps; dropout draws the same."""
    plain = build(name, 1, 2, dropout=0.2)
    saving = build(name, 1, 2, dropout=0.2, activation_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    for step in range(2):
        for net in (plain, saving):
            torch.manual_seed(step)
            net.zero_grad()
            net(images(count=3)).square().sum().backward()
    for (key, left), right in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(right.grad, left.grad, msg=key)
    for (key, left), right in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(right, left, msg=key)
    assert all(m.momentum == 0.1 for m in saving.modules() if isinstance(m, nn.BatchNorm2d))


def test_activation_checkpointing_keeps_fewer_activations():
    def kept(checkpointing: bool) -> int:
        total = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        net = build("resnet18", 1, 2, activation_checkpointing=checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            net(images(size=(64, 64)))
        return total

    assert kept(True) < 0.6 * kept(False)


def test_a_copy_of_a_checkpointed_network_has_its_own_weights():
    """The average of the weights is a deep copy: its blocks must not compute with the original's."""
    net = build("resnet18", 1, 2, activation_checkpointing=True)
    average = copy.deepcopy(net)
    x = images()
    before = average.eval()(x)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1)
    torch.testing.assert_close(average(x), before)
    assert not torch.allclose(net.eval()(x), before)


# --- batch norm over all processes


@pytest.fixture
def one_process(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_synced_batch_norm_of_one_process_is_batch_norm(one_process, offset):
    plain, synced = nn.BatchNorm2d(5), SyncBatchNormCPU(5)
    for norm in (plain, synced):
        torch.manual_seed(2)
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    for _ in range(3):
        x = (torch.randn(4, 5, 6, 7) * 2 + offset).requires_grad_()
        y = x.detach().clone().requires_grad_()
        upstream = torch.randn(4, 5, 6, 7)
        left, right = plain(x), synced(y)
        left.backward(upstream)
        right.backward(upstream)
        torch.testing.assert_close(right, left, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(y.grad, x.grad, atol=1e-4, rtol=1e-3)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(synced, name).grad, getattr(plain, name).grad, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(synced.running_mean, plain.running_mean)
    torch.testing.assert_close(synced.running_var, plain.running_var, atol=1e-4, rtol=1e-4)
    assert synced.num_batches_tracked == plain.num_batches_tracked == 3
    x = torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(synced.eval()(x), plain.eval()(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "cnn5"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_synced_network_trains_as_before(one_process, name, checkpointing):
    plain = build(name, 1, 2, activation_checkpointing=checkpointing)
    synced = sync_batchnorm(copy.deepcopy(plain), "cpu")
    norms = [m for m in synced.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(type(m) is SyncBatchNormCPU for m in norms)
    assert list(synced.state_dict()) == list(plain.state_dict())
    exact = copy.deepcopy(plain).double()  # torch's own float32 gradients are some 3e-3 off from it
    x = images(count=4, size=(64, 64))
    exact(x.double()).square().sum().backward()
    synced(x).square().sum().backward()
    for (key, left), right in zip(exact.named_parameters(), synced.parameters(), strict=True):
        assert float((right.grad - left.grad).norm() / left.grad.norm()) < 0.02, key
    for (key, left), right in zip(exact.named_buffers(), synced.buffers(), strict=True):
        torch.testing.assert_close(right.double(), left.double(), atol=1e-4, rtol=1e-3, msg=key)


def test_synced_batch_norm_keeps_the_images_dtype(one_process):
    x = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16)
    assert SyncBatchNormCPU(3)(x).dtype == torch.bfloat16


def test_on_a_gpu_torchs_own_is_taken():
    synced = models.sync_batchnorm(build("cnn5", 1, 1), "cuda")
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in synced.modules()) == 5


def test_weights_of_an_earlier_jobs_archive(tmp_path):
    """The channel `model` holds the model.tar.gz of a training job, as SageMaker wrote it."""
    (tmp_path / "bundle").mkdir()
    torch.save({"a": torch.arange(3)}, tmp_path / "bundle" / "model.pt")
    channel = tmp_path / "channel"
    channel.mkdir()
    with tarfile.open(channel / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "bundle", ".")
    for given in (channel, channel / "model.tar.gz"):
        assert torch.load(find_weights(given), weights_only=True)["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "told"), [("nothing", "is not a readable .tar.gz"), ("others", "holds no model.pt at its top")]
)
def test_an_archive_that_is_none_of_ours(content, told, tmp_path):
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"no archive")
    if content == "others":
        (tmp_path / "x.txt").write_text("x")
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(tmp_path / "x.txt", "sub/model.pt")
    with pytest.raises(ThoraxError, match=told):
        find_weights(tmp_path)
