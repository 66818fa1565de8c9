"""Rules on healthy records and on records with one fault each; records on disk; judging from the command line."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys

import pytest
import torch

from thorax.errors import ThoraxError
from thorax.tracking.health.__main__ import main
from thorax.tracking.health.records import HealthRecord, Recorder, measure, read, shapes
from thorax.tracking.health.rules import Rules, class_imbalance, judge

SHAPES = {"conv.weight": (8, 1, 3, 3), "conv.bias": (8,), "head.weight": (1, 8)}
HEALTHY = [{"train_loss": 1 / k, "validation_loss": 1.1 / k} for k in range(1, 9)]


def run(steps=40, loss=None, gradient=None, weight=None):
    """Records of a healthy run, but for what `loss(step)`, `gradient(step)` or `weight(step)` say."""
    noise = random.Random(0)
    records = []
    for step in range(1, steps + 1):
        usual = 0.7 * math.exp(-step / 20) + noise.gauss(0, 0.03)
        g, w = (gradient or (lambda k: 0.1))(step), (weight or (lambda k: 5.0 + k / 100))(step)
        records.append(
            HealthRecord(
                step,
                (loss or (lambda k, usual=usual: usual))(step),
                dict.fromkeys(SHAPES, g) | {"head.weight": 0.2},
                dict.fromkeys(SHAPES, w),
            )
        )
    return records


def found(records, history=HEALTHY, baseline=0.693):
    return {finding["rule"]: finding for finding in judge(SHAPES, records, history, baseline)}


def test_nothing_is_found_in_a_healthy_run():
    assert found(run()) == {}


@pytest.mark.parametrize(
    ("rule", "step", "faulty"),
    [
        ("loss_not_decreasing", 40, {"loss": lambda k: 0.69 + 0.05 * math.sin(7 * k)}),
        ("loss_not_decreasing", 40, {"loss": lambda k: 0.69 - 1e-6 * k}),
        ("vanishing_gradient", 3, {"gradient": lambda k: 1e-9}),
        ("vanishing_gradient", 12, {"gradient": lambda k: 0.0 if k > 9 else 0.1}),
        ("exploding_tensor", 7, {"loss": lambda k: math.nan if k == 7 else 0.7 / k}),
        ("exploding_tensor", 7, {"weight": lambda k: math.nan if k >= 7 else 5.0}),
        ("exploding_tensor", 9, {"weight": lambda k: 5.0 * 3 ** max(0, k - 4)}),
        ("exploding_tensor", 11, {"gradient": lambda k: math.nan if k >= 9 else 0.1}),
        ("exploding_tensor", 7, {"loss": lambda k: 20.0 if k >= 5 else 0.7}),
        ("poor_initialisation", 1, {"loss": lambda k: 5.0 / k}),
        ("poor_initialisation", 1, {"weight": lambda k: 0.0 if k == 1 else 1.0}),
        ("poor_initialisation", 1, {"gradient": lambda k: 1e6 if k == 1 else 0.1}),
    ],
)
def test_each_fault_is_found_where_it_happens(rule, step, faulty):
    findings = found(run(**faulty))
    assert findings[rule]["step"] == step
    assert len(findings[rule]["message"].splitlines()) == 1


@pytest.mark.parametrize(
    "harmless",
    [
        {"gradient": lambda k: math.nan if k in (1, 9) else 0.1},  # a gradient scaler tries its scale
        {"loss": lambda k: 12.0 if k == 2 else 0.7 * math.exp(-k / 20)},  # one step without warm-up
        {"loss": lambda k: 0.7 * math.exp(-k), "gradient": lambda k: 0.1 * math.exp(-k)},  # all is learned
        {"steps": 15, "loss": lambda k: 0.69},  # too few to judge
        {"loss": lambda k: 0.05 + 0.01 * math.sin(7 * k)},  # low from the first step: it starts from a good network
    ],
)
def test_what_is_harmless_is_not_found(harmless):
    assert found(run(**harmless)) == {}


def test_overfitting_is_found_from_the_history_and_a_plateau_is_not():
    worse = [{"epoch": k, "train_loss": 1 / k, "validation_loss": 0.5 + abs(k - 4) / 8} for k in range(1, 12)]
    assert found(run(), worse)["overfit"]["message"].startswith(
        "the validation loss was lowest in epoch 4 (0.5000) and has been over 1.1 times that for 3 epochs (now 0.8750),"
        " while the training loss fell from 0.2500 to 0.1429; "
    )
    assert found(run(), [{**row, "validation_loss": min(row["validation_loss"], 0.54)} for row in worse]) == {}
    assert found(run(), [{"train_loss": 0.1 * k, "validation_loss": 0.1 * k} for k in range(1, 12)]) == {}


def test_a_bias_that_starts_at_zero_may_grow():
    records = [
        HealthRecord(r.step, r.loss, r.gradients, {**r.weights, "conv.bias": 0.05 * (r.step - 1)}) for r in run()
    ]
    assert found(records) == {}


def losses(*validation, train=lambda k: 1 / k):
    """A history with these validation losses and a training loss that falls."""
    return [{"epoch": k, "train_loss": train(k), "validation_loss": v} for k, v in enumerate(validation, 1)]


@pytest.mark.parametrize(
    "history",
    [
        losses(0.9, 2.05, 2.09, 1.13),  # it has just fallen
        losses(0.69, 3.0, 2.5, 2.0, 1.5, 1.0, 0.8),  # batch statistics that settle
        losses(0.6, 0.7, 0.65, 0.68, 0.62, 0.66, 0.61),  # noise around one value
        losses(0.6, 0.9, 0.9, 0.9, 0.9, train=lambda k: 0.5 + k / 10),  # the training loss grows too: no overfitting
        losses(0.6, math.nan, 0.55),
    ],
    ids=["fallen", "settling", "noise", "diverging", "undefined"],
)
def test_a_validation_loss_that_comes_down_has_not_grown(history):
    assert "overfit" not in found(run(), history)


def test_one_noisy_epoch_and_a_warm_up_are_no_finding():
    """The first 30 saved steps are warm-up at a tiny rate; afterwards the loss falls."""
    records = run(steps=90, loss=lambda k: 0.69 + 0.02 * math.sin(5 * k) - 0.004 * max(0, k - 30))
    rules = Rules(SHAPES, 0.693)
    for record in records:
        rules.record(record)
        if record.step % 15 == 0:
            rules.epoch(HEALTHY[0], record.step)
    assert rules.findings == []


def test_a_rule_reports_once_and_as_it_happens():
    reported = []
    rules = Rules(SHAPES, 0.693, reported.append)
    for record in run(gradient=lambda k: 0.0):
        rules.record(record)
        assert len(reported) == (record.step >= 3)
    assert reported == rules.findings


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ({"P": (100, 900)}, None),
        ({"P": (50, 950)}, "P"),
        ({"P": (950, 50)}, "P"),
        ({"A": (500, 500), "B": (1, 999)}, "B"),
        ({"A": (0, 10)}, "A"),
    ],
)
def test_class_imbalance_names_the_rarest_label(counts, named):
    message = class_imbalance(counts)
    assert (message is None) if named is None else message.startswith(f"{named} is on")


def test_where_no_weight_can_help_none_is_advised():
    for counts, said in (
        ({"A": (0, 10)}, "A is on none of the 10 images for training: nothing is learned about it; check the labels"),
        ({"A": (10, 0)}, "A is on all of the 10 images for training: nothing is learned about it; check the labels"),
    ):
        message = class_imbalance(counts)
        assert message.startswith(said) and "use_weighted_loss" not in message
    three = {"a": (30, 20), "b": (20, 30), "c": (0, 50)}
    assert class_imbalance(three, exclusive=True).startswith("c has no image for training: nothing is learned")
    assert class_imbalance({"A": (0, 0)}) is None and class_imbalance({}) is None


def test_odd_numbers_are_said_as_people_say_them():
    """Of nothing, one step, losses of 0 and NaN there is nothing to say; what is far too large has three digits."""
    nan = float("nan")
    for history in ([], [{"epoch": 1, "train_loss": 0.7, "validation_loss": 0.7}], [{"epoch": 1, "train_loss": nan}]):
        assert judge({}, [HealthRecord(1, 0.7, {}, {})], history, 0.693) == []
    zeros = [HealthRecord(k, 0.0, {}, {}) for k in range(1, 31)]
    assert judge({}, zeros, [{"epoch": k, "train_loss": 0.0, "validation_loss": 0.0} for k in range(5)], 0.693) == []
    rows = [{"epoch": k, "train_loss": 1 / k, "validation_loss": k * 1e30} for k in range(1, 6)]
    (found,) = judge({}, [], rows)
    assert "was lowest in epoch 1 (1e+30)" in found["message"] and "(now 4e+30)" in found["message"]
    dead = [HealthRecord(k, 0.7, {"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 1.0}) for k in (1, 2, 3)]
    (found,) = judge({"a": (2, 2), "b": (2, 2)}, dead, [])
    assert found["message"].startswith("the gradient of a and 1 more parameter are below 0.0000001 ")


def test_of_many_exclusive_classes_the_largest_and_the_smallest_are_compared():
    """Fifteen classes of 20 images each are one to fourteen, and no finding."""
    even = {f"c{k}": (20, 280) for k in range(15)}
    assert class_imbalance(even, exclusive=True) is None
    assert class_imbalance({**even, "c3": (1, 299), "c4": (1500, 280)}, exclusive=True) == (
        "c4 has 1,500 images for training and c3 1; use_weighted_loss=true or balanced_sampler=true makes up for it"
    )


# -- Records -----------------------------------------------------------------------------------------------------------


def a_net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(12, 1)
    )


def test_a_step_is_measured_as_torch_says():
    net = a_net()
    net[3].bias.requires_grad = False
    loss = net(torch.randn(4, 1, 4, 4)).square().mean()
    loss.backward()
    record = measure(7, loss, net)
    assert (record.step, record.loss) == (7, pytest.approx(loss.item()))
    for name, p in net.named_parameters():
        assert record.weights[name] == pytest.approx(p.norm().item())
        assert record.gradients.get(name) == (None if p.grad is None else pytest.approx(p.grad.norm().item()))
    assert math.hypot(*record.gradients.values()) == pytest.approx(
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1e9).item(), rel=1e-6
    )
    net[0].weight.data[0] = math.inf
    assert math.isnan(measure(8, loss, net).weights["0.weight"])


def test_records_come_back_the_later_of_two_counts_and_an_incomplete_line_is_ignored(tmp_path):
    file = tmp_path / "worker_0.jsonl"
    first, again = (
        HealthRecord(1, 0.5, {"a": 1.0}, {"a": 2.0, "b": 3.0}),
        HealthRecord(2, 0.4, {"a": 1.5}, {"a": 2.0, "b": 3.0}),
    )
    odd = HealthRecord(3, math.nan, {}, {"a": 1.0, "b": 1.0})
    for some in ([first, HealthRecord(2, 9.0, {}, {})], [again, odd]):  # the second start of a resumed run
        recorder = Recorder(file, {"a": (2, 2), "b": (2,)})
        for record in some:
            recorder.write(record)
        recorder.close()
    with file.open("a") as torn:
        torn.write('{"step": 4, "loss"')
    parameters, records = read(file)
    assert parameters == {"a": (2, 2), "b": (2,)}
    assert records[:2] == [first, again]
    assert records[2].step == 3 and math.isnan(records[2].loss) and records[2].gradients == {}
    assert all(json.loads(line) for line in file.read_text().splitlines()[:-1])


@pytest.mark.parametrize("content", ["no json\n{}\n", '{"step": 1}\n{}\n', "[1]\n[2]\n", None])
def test_a_file_that_holds_no_records_is_an_error_of_one_line(tmp_path, content, capsys):
    file = tmp_path / "worker_0.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ThoraxError, match=r"worker_0\.jsonl"):
        read(file)
    assert main([str(file)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_finished_run_is_judged_from_the_command_line(tmp_path, capsys):
    codes = []
    for name, records in (("good", run()), ("flat", run(loss=lambda k: 0.69))):
        recorder = Recorder(tmp_path / name, shapes(a_net()) | SHAPES)
        for record in records:
            recorder.write(record)
        codes.append(main([str(tmp_path / name)]))
    assert codes == [0, 1]
    assert "finding: loss_not_decreasing at step 40" in capsys.readouterr().out
    assert main([]) == 2


def test_the_old_module_name_works_with_one_line(tmp_path):
    recorder = Recorder(tmp_path / "worker_0.jsonl", SHAPES)
    for record in run():
        recorder.write(record)
    answers = []
    for module in ("thorax.tracking.health", "thorax.tracking.debugger"):
        command = [sys.executable, "-m", module, str(tmp_path / "worker_0.jsonl")]
        answers.append(subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}))
    new, old = answers
    assert (new.returncode, new.stdout, new.stderr) == (0, "40 saved steps, no findings\n", "")
    assert (old.returncode, old.stdout) == (0, new.stdout)
    assert old.stderr == (
        "warning: python -m thorax.tracking.debugger is deprecated; write python -m thorax.tracking.health\n"
    )
