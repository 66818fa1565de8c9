"""Serving on a GPU against float32 on the CPU."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import images as pictures
from thorax.data.images import Preprocessing
from thorax.models import build
from thorax.serving.batcher import Batcher
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_writer import write_bundle
from thorax.serving.classifier import Classifier

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["resnet18", "densenet121"])
def bundle(request, tmp_path_factory) -> Path:
    """Random weights, and statistics of batch norm as a network has that saw images."""
    torch.manual_seed(5)
    net = build(request.param, 1, 3)
    net.train()
    for _ in range(3):
        net(torch.randn(8, 1, 64, 64))
    net.eval()
    contents = BundleContents(
        network=request.param,
        space=pictures.FINDINGS,
        preprocessing=Preprocessing(64, 64),
        thresholds=dict.fromkeys(pictures.FINDINGS.outputs, 0.5),
    )
    folder = tmp_path_factory.mktemp("gpu") / "model"
    write_bundle(folder, net, contents, "id,patient,part\n", ROOT / "source_dir")
    return folder


@pytest.fixture(scope="module")
def prepared() -> np.ndarray:
    return np.stack([pictures.grey(64, 64, seed=k) for k in range(21)])


@pytest.mark.parametrize(("precision", "within"), [("float32", 2e-3), ("bfloat16", 0.02), ("auto", 0.02)])
def test_probabilities_are_those_of_the_cpu(gpu, bundle, prepared, precision, within):
    if gpu.type == "cpu" and precision != "float32":
        pytest.skip("no CUDA device")
    want = Classifier.load(bundle, device=CPU, precision="float32").score(prepared)
    served = Classifier.load(bundle, device=gpu, precision=precision, batch=8)
    assert str(served.device).startswith(gpu.type)
    assert np.abs(served.score(prepared) - want).max() < within
    assert want.std() > 0.001


def test_a_gpu_is_taken_where_there_is_one(cuda, bundle):
    assert str(Classifier.load(bundle).device).startswith("cuda")


def test_heat_maps_are_those_of_the_cpu(gpu, bundle, prepared):
    want = Classifier.load(bundle, device=CPU, precision="float32").heat_map(prepared[0], "Mass")
    for precision, within in (("float32", 0.02), ("bfloat16", 0.2)):
        if gpu.type == "cpu" and precision != "float32":
            continue
        found = Classifier.load(bundle, device=gpu, precision=precision).heat_map(prepared[0], "Mass")
        assert found.map.shape == want.map.shape
        assert np.abs(found.map - want.map).mean() < within


def test_many_threads_share_the_gpu(gpu, bundle, prepared):
    served = Classifier.load(bundle, device=gpu, precision="float32", batch=8)
    want, wrong = served.score(prepared), []
    batcher = Batcher(served.score, max_batch=8, max_wait=0.005, workers=2)

    def ask(k: int) -> None:
        for n in range(10):
            row = batcher.score([prepared[(k + n) % len(prepared)]], 60)[0]
            if np.abs(row - want[(k + n) % len(prepared)]).max() > 2e-3:
                wrong.append(row)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    assert wrong == []


def test_nvjpeg_decodes_what_pillow_decodes(cuda):
    """Where torchvision has nvJPEG; its scaled grey levels differ from libjpeg's by rounding."""
    from torchvision.io import decode_jpeg
    from torchvision.io.image import ImageReadMode

    picture = pictures.smooth()
    data = pictures.data(picture, "JPEG", quality=95)
    try:
        found = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.GRAY, device=cuda)
    except RuntimeError as error:
        pytest.skip(f"torchvision without nvJPEG: {str(error).splitlines()[0]}")
    assert np.abs(found[0].cpu().numpy().astype(int) - picture.astype(int)).mean() < 2
