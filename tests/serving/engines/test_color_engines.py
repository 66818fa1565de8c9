"""Engines in colour: OpenVINO gives torch's answers, to images and to tensors that are normalised already."""

from __future__ import annotations

import numpy as np
import pytest

import images
from photos import photo
from thorax.data.preprocessing import Preprocessing
from thorax.serving.classifier import Classifier
from written_bundles import telling_network, write


@pytest.mark.parametrize("normalization", ["image", "imagenet"])
def test_openvino_gives_torch_s_answers(normalization, tmp_path):
    pytest.importorskip("openvino")
    prepared = Preprocessing(
        32, 40, 3, normalization=normalization, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), color="rgb"
    )
    write(tmp_path, telling_network(3, 3), images.FINDINGS, prepared)
    pictures = [photo(50, 60, seed=k) for k in range(5)]
    torch, openvino = (
        Classifier.load(tmp_path, engine=engine, precision="float32") for engine in ("torch", "openvino")
    )
    want = torch.predict(pictures)
    assert np.ptp(want, axis=0).max() > 0.02
    np.testing.assert_allclose(openvino.predict(pictures), want, atol=1e-3)
    inputs = prepared.array(np.stack([torch.prepare(picture) for picture in pictures]))
    for classifier in (torch, openvino):
        np.testing.assert_allclose(classifier.score(inputs), want, atol=1e-3)
