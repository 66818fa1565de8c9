"""Whole runs on a GPU, as processes: killed and resumed, and as several under torchrun."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import clean_environment, command, run
from runs import wait_for_checkpoints
from thorax.serving.bundle import Bundle

pytestmark = pytest.mark.gpu
#: A rate at which rounding does not grow from step to step: a GPU's sums differ in their order from run to run.
CALM = {"optimizer": "sgd", "learning_rate": "0.0005", "augmentation_type": "xray", "tf32": "false"}


def curve(out: Path) -> list[float]:
    with (Path(f"{out}-job") / "output/data/history.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in ("train_loss", "validation_loss")]


def test_kill_9_and_resume_give_the_same_bits(gpu, images, tmp_path):
    """In float16, which has most to restore: the gradient scaler's scale beside weights, momentum and average."""
    precision = "float16" if gpu.type == "cuda" else "float32"
    settings = {**CALM, "network": "resnet18", "deterministic": "true", "precision_dtype": precision, "momentum": "0.9"}
    settings |= {"epochs": "3", "checkpoint_minutes": "0", "ema_decay": "0.9", "num_workers": "1"}
    names = ("whole", "killed")
    words = {name: [sys.executable, *command(images, tmp_path / name, **settings)[1:]] for name in names}
    whole, killed = (
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment())
        for line in words.values()
    )
    try:
        wait_for_checkpoints(killed, tmp_path / "killed-job/checkpoints", 6)  # 3 epochs of 5 steps
        killed.kill()
        killed.communicate()
        done = run(words["killed"])
        told = whole.communicate(timeout=120)[0]
    finally:
        for process in (whole, killed):
            process.kill()
    assert (whole.returncode, done.returncode) == (0, 0), told[-2000:] + done.stderr[-2000:]
    assert "resumed from a checkpoint at epoch" in done.stdout
    assert gpu.type in next(line for line in done.stdout.splitlines() if "machine:" in line)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    weights = [Bundle.load(tmp_path / name).build_network().state_dict() for name in words]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_torchrun_gives_the_same_losses_for_any_number_of_gpus(gpu, job):
    """1 process, and as many as there are GPUs (nccl, batch norm over all of them)."""
    counts = sorted({1, max(1, torch.cuda.device_count())})
    curves = []
    for count in counts:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        curves.append(curve(job(f"run{count}", *launcher, "--nproc-per-node", str(count), **CALM)))
    alone = curve(job("alone", **CALM))
    for one in curves:
        assert one == pytest.approx(alone, rel=1e-2)


def test_more_processes_than_gpus_are_refused(cuda, images, tmp_path):
    count = torch.cuda.device_count() + 1
    words = command(images, tmp_path / "out", **CALM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    done = run([*launcher, "--nproc-per-node", str(count), *words[1:]])
    assert done.returncode != 0
    assert f"processes={count} on a machine with {count - 1} GPUs" in done.stderr + done.stdout


#: Two processes on one GPU over gloo: nccl refuses that, and a machine with one GPU can yet try the rest of the path.
SHARED = """
import os, sys, torch, torch.distributed as dist
from pathlib import Path
from thorax import models
from thorax.config import TrainingConfig
from thorax.data.formats import read_channel
from thorax.data.loading import BatchRequest, ImageDataset
from thorax.data.parts import preprocessing
from thorax.data.samples import label_space, sample_set
from thorax.job import Process
from thorax.training.checkpoints import Checkpoints
from thorax.training.inputs import Hardware, Monitoring, TrainingData
from thorax.training.trainer import Trainer

images, out, kind = sys.argv[1:]
torch.set_num_threads(1)
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
device = torch.device(kind)
torch.backends.cudnn.allow_tf32 = False
if world > 1:
    dist.init_process_group("gloo")
listing = read_channel("train", Path(images), "folder")
train = sample_set("train", listing, label_space(listing, (), None))
config = TrainingConfig(network="resnet18", image_shape=(1, 32, 32), batch_size=16, epochs=1, optimizer="sgd",
    learning_rate=0.0005, warmup_epochs=0.0, augmentation_type="xray", seed=3, log_seconds=1e9)
torch.manual_seed(3)
net = models.build("resnet18", 1, 1)
trainer = Trainer(config, net, TrainingData(train, train.subset([0, 1], "validation"), preprocessing(config)),
    Hardware(device, process=Process(rank, world, 0, world)), Checkpoints(Path(out), {}, print),
    Monitoring(log=lambda line: None))
if world > 1:
    assert not any(type(m) is torch.nn.BatchNorm2d for m in trainer.net.modules())
trainer.prepare_epoch()
dataset = ImageDataset(train, trainer.preprocessing, seed=3, rank=rank, world_size=world)
for step in range(3):
    places = (torch.arange(16) * 3 + step) % len(train)
    loss = trainer.optimize(dataset[BatchRequest(places.numpy(), epoch=0)]).cpu()
    trainer.state.global_step += 1
    if world > 1:
        dist.all_reduce(loss)
    if rank == 0:
        print("loss", float(loss) / 16, flush=True)
if world > 1:
    dist.destroy_process_group()
"""


def test_two_processes_on_one_gpu_train_as_one_does(gpu, images, tmp_path):
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    paths = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "source_dir")}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    found = []
    for words in ([sys.executable], [*launcher, "--nproc-per-node", "2"]):
        done = run([*words, str(script), str(images / "train"), str(tmp_path), gpu.type], **paths)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append([float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("loss ")])
    assert len(found[0]) == 3
    assert found[1] == pytest.approx(found[0], rel=5e-3)


#: The product's process group of one process, nccl for the GPU beside gloo for the CPU.
NCCL = """
import torch, torch.distributed as dist
device = torch.device("cuda", 0)
torch.cuda.set_device(device)
dist.init_process_group("cpu:gloo,cuda:nccl")
net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.SyncBatchNorm(4), torch.nn.Flatten(),
    torch.nn.LazyLinear(1))
net = net.to(device)
x = torch.randn(4, 1, 8, 8, device=device)
net(x)
wrapped = torch.nn.parallel.DistributedDataParallel(net, device_ids=[0])
with wrapped.no_sync():
    wrapped(x).sum().backward()
wrapped(x).sum().backward()
for buffer in net.buffers():
    dist.broadcast(buffer, 0)
votes = torch.tensor([1, 0])
dist.all_reduce(votes, op=dist.ReduceOp.MAX)
told = [{"a": 1}]
dist.broadcast_object_list(told)
assert votes.tolist() == [1, 0] and told == [{"a": 1}]
torch.cuda.synchronize()
print("fine", torch.cuda.nccl.version())
dist.destroy_process_group()
"""


def test_nccl_beside_gloo_works_here(cuda, tmp_path):
    script = tmp_path / "nccl.py"
    script.write_text(NCCL)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    done = run([*launcher, "--nproc-per-node", "1", str(script)])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "fine" in done.stdout
