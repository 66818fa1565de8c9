"""A page's shown output is compared with the real one: words and whole numbers count, figures of a run do not."""

from __future__ import annotations

import pytest

from pages import Step, corrected, differences, normal, same, steps

PAGE = """# A page

<!-- Ctrl-C after: second -->
```console
$ sleep 9 && cat <<END
> a
> END
a
$ echo 1.5
1.5
```

```sh
not executed
```

```python
print(1)
```

```text
1
```

```python
x = 2
```
"""


def test_the_steps_of_a_page():
    found = steps(PAGE)
    assert [(step.kind, step.code, step.at) for step in found] == [
        ("console", "sleep 9 && cat <<END\na\nEND", 5),
        ("console", "echo 1.5", 9),
        ("python", "print(1)", 18),
        ("python", "x = 2", 26),
    ]
    assert [step.interrupt for step in found] == ["second", None, None, None]
    assert [step.fenced for step in found] == [True, True, True, False]


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ("test AUC 0.913 [0.82, 0.99]", "test AUC 0.9 [0.801, 1.00]"),
        ("epoch 1/8   loss 0.71   3.4 s *", "epoch 1/8  loss 0.69  12 s"),
        ("chest-20261127 took 41 s, 12.5 MB", "chest-20270101 took 7 s, 9 MB"),
        ("split 3a44bc0f91ee", "split 0000bc0f91ee"),
        ("────  ──", "──────  ───"),
        ("wrote /tmp/x/page/runs/first", "wrote /home/me/page/runs/first"),
        ("https://127.0.0.1:8080/", "https://127.0.0.1:4711/"),
    ],
)
def test_what_may_vary(shown, real):
    assert same([shown], [real])


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ("80 images of 31 patients", "81 images of 31 patients"),
        ("test AUC 0.913", "test AUC 1"),
        ("test AUC 0.913", "validation AUC 0.913"),
        ("epoch 1/8 loss 0.71", "epoch 1/9 loss 0.71"),
        ("a b", "ab"),
        ("wrote runs/first", "wrote runs/second"),
        ("resnet18", "resnet34"),
    ],
)
def test_what_may_not(shown, real):
    assert not same([shown], [real])


def test_lines_that_come_on_a_busy_machine_only():
    busy = [
        "drawing synthetic X-rays: image 18/100, 1.8 images/s, 47 s left",
        "a",
        "warning: 9 % of the time was spent waiting for images",
    ]
    assert same(["a"], busy) and same(busy, ["a"])


def test_epochs_before_and_after_a_stop():
    """How many are made before it depends on the machine."""
    one, more = "epoch 1/6  loss 0.5  0.3 s  *", "epoch 2/6  loss 0.4  0.2 s"
    assert same([one, "^C"], [one, more, "^C"])
    assert not same([one, "^C"], ["^C"])


def test_lines_left_out():
    real = ["first", "2", "3", "middle", "5", "last"]
    assert same(["first", "...", "last"], real)
    assert same(["first", "...", "middle", "...", "last"], real)
    assert same(["...", "last", ""], real)
    assert same(["first", "..."], real)
    assert not same(["...", "other", "..."], real)
    assert not same(["first", "...", "5"], real)
    assert not same(["first", "last"], real)


def test_a_page_is_corrected_where_it_is_wrong_only():
    written = {"sleep 9 && cat <<END\na\nEND": "b\nc", "echo 1.5": "1.7", "print(1)": "2", "x = 2": "three"}

    def run(step: Step) -> str:
        return written[step.code]

    wrong = differences(PAGE, run)
    assert [one.step.at for one in wrong] == [5, 18, 26]
    after = corrected(PAGE, wrong)
    assert "> END\nb\nc\n$ echo 1.5\n1.5\n```" in after
    assert "```text\n2\n```\n\n```python\nx = 2\n```\n\n```text\nthree\n```\n" in after
    assert differences(after, run) == []


def test_lines_left_out_stay_so():
    page = "```console\n$ seq 9\n1\n...\n8\n9\n```\n"
    assert differences(page, lambda step: "1\n2\n3\n8\n9") == []
    wrong = differences(page, lambda step: "0\n1\n2\n3\n8\n10")
    assert corrected(page, wrong) == "```console\n$ seq 9\n0\n...\n8\n10\n```\n"


def test_normal_lines_keep_their_words():
    assert normal("  sensitivity   0.945  at 0.5 ") == "sensitivity N at N"
