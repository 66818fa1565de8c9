"""The last layer fitted before the first epoch: against scikit-learn, and in a run."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from thorax import models
from thorax.errors import ThoraxError
from thorax.training.head_fit import HeadInputs, fit_head, linear_head
from trainers import a_trainer, some_images


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_fit_is_scikit_learns(outputs: int) -> None:
    """Features of very different scale, one of them constant; a penalty on the weights of standardised features."""
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 6)) * [1, 100, 0.001, 1, 1, 0] + [0, 500, 1, 0, 0, 7]
    score = x[:, 0] + (x[:, 1] - 500) / 100 + random.normal(size=200)
    y = np.digitize(score, [-0.5, 0.5]) if outputs > 1 else (score > 0).astype(int)
    scaled, penalty = StandardScaler().fit_transform(x), 0.03
    theirs = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-10, max_iter=10_000).fit(scaled, y)
    head, targets = nn.Linear(6, outputs), torch.from_numpy(y)
    features = torch.from_numpy(x.astype(np.float32))

    def loss(z: torch.Tensor) -> torch.Tensor:
        return cross_entropy(z, targets) if outputs > 1 else binary_cross_entropy_with_logits(z[:, 0], targets.float())

    least = fit_head(head, features, loss, penalty)
    with torch.no_grad():
        ours = head(features)
        assert least == pytest.approx(float(loss(ours)), abs=1e-3)
        p = ours.softmax(1).numpy() if outputs > 1 else ours.sigmoid().numpy()[:, 0]
    wanted = theirs.predict_proba(scaled)
    np.testing.assert_allclose(p, wanted if outputs > 1 else wanted[:, 1], atol=2e-3)
    assert torch.equal(head.weight[:, 5], torch.zeros(outputs))


def test_a_run_begins_with_the_fitted_head_and_the_rest_as_it_was(images, tmp_path) -> None:
    train = some_images(images, normal=10, pneumonia=10)
    plain, _ = a_trainer(train, tmp_path / "plain", epochs=1)
    start = copy.deepcopy(plain.net.state_dict())
    lines: list[str] = []
    settings = {"epochs": 1, "freeze": "head", "learning_rate": 1e-12}  # so that it ends as it began
    trainer, _ = a_trainer(train, tmp_path / "fitted", fit_head=0.01, log=lines.append, **settings)
    trainer.fit()
    begun = trainer.net.state_dict()
    assert {key for key in start if not torch.equal(start[key], begun[key])} == {"fc.weight", "fc.bias"}
    found = [line for line in lines if line.startswith("head fitted to 16 features of 20 images: loss 0.")]
    assert len(found) == 1
    answers = trainer.evaluator.logits(trainer.net, train)
    wanted = float(trainer.loss.sum(torch.from_numpy(answers), trainer.targets)) / 20
    assert float(found[0].split("loss ")[1].split(",")[0]) == pytest.approx(wanted, abs=2e-3)


def test_a_resumed_run_does_not_fit_again(images, tmp_path) -> None:
    train = some_images(images, normal=10, pneumonia=10)
    first, _ = a_trainer(train, tmp_path, epochs=2, fit_head=0.01)
    first.fit()
    lines: list[str] = []
    again, _ = a_trainer(train, tmp_path, epochs=2, fit_head=0.01, log=lines.append)
    assert again.fit()
    assert any("resumed" in line for line in lines) and not any("head fitted" in line for line in lines)


def test_a_last_layer_that_is_not_linear_is_refused() -> None:
    with pytest.raises(ThoraxError, match="fit_head: the last layer of squeezenet1_1 is not linear"):
        linear_head(models.build("squeezenet1_1", 1, 2))


def test_inputs_of_the_head_give_its_answers() -> None:
    net = models.build("timm/test_efficientnet+stages", 3, 2).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(linear_head(net)(HeadInputs(net)(x)), net(x))
