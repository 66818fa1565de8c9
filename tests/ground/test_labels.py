"""Label spaces: which class is positive, which task it is, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.errors import ThoraxError
from thorax.labels import NEGATIVE_NAMES, LabelSpace

NAMES = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=6)


@pytest.mark.parametrize(
    ("found", "classes"),
    [
        (["PNEUMONIA", "NORMAL"], ("NORMAL", "PNEUMONIA")),
        (["normal", "covid"], ("normal", "covid")),
        (["No Finding", "Effusion"], ("No Finding", "Effusion")),
        (["1", "0"], ("0", "1")),
        (["no", "yes"], ("no", "yes")),
        (["true", "false"], ("false", "true")),
        (["cat", "dog", "cat"], ("cat", "dog")),
        (["healthy", "normal"], ("healthy", "normal")),
    ],
)
def test_of_two_classes_the_one_that_means_nothing_found_is_negative(found, classes):
    space = LabelSpace.of_classes(found)
    assert space == LabelSpace(classes, "binary")
    assert space.outputs == classes[1:]


def test_three_classes_are_sorted_and_have_an_output_each():
    space = LabelSpace.of_classes(["viral", "normal", "bacterial", "viral"])
    assert space == LabelSpace(("bacterial", "normal", "viral"), "multiclass")
    assert space.outputs == space.classes


def test_several_labels_have_an_output_each_even_when_there_is_one():
    assert LabelSpace(("Mass",), "multilabel").outputs == ("Mass",)
    assert LabelSpace(("Mass", "Nodule"), "multilabel").outputs == ("Mass", "Nodule")


def test_the_users_order_wins_and_its_second_class_is_positive():
    assert LabelSpace.of_classes(["NORMAL", "PNEUMONIA"], ["PNEUMONIA", "NORMAL"]).outputs == ("NORMAL",)
    assert LabelSpace.of_classes(["a", "b", "c"], ["c", "a", "b"]).classes == ("c", "a", "b")


@pytest.mark.parametrize(
    "order", [["NORMAL"], ["NORMAL", "FLU"], ["NORMAL", "NORMAL", "PNEUMONIA"], ["normal", "PNEUMONIA"]]
)
def test_an_order_that_names_other_classes_is_refused_with_both_lists(order):
    with pytest.raises(ThoraxError) as caught:
        LabelSpace.of_classes(["NORMAL", "PNEUMONIA"], order)
    assert f"labels={','.join(order)}" in str(caught.value)
    assert "NORMAL,PNEUMONIA" in str(caught.value)


@pytest.mark.parametrize(
    ("found", "told"),
    [([], "found 0: none"), (["NORMAL"], "found 1: NORMAL"), (["NORMAL", "NORMAL"], "found 1: NORMAL")],
)
def test_fewer_than_two_classes_are_refused(found, told):
    with pytest.raises(ThoraxError, match=f"two or more classes, {told}"):
        LabelSpace.of_classes(found)


@pytest.mark.parametrize(
    ("classes", "task", "told"),
    [
        (("a", "b"), "ranking", "task='ranking' is not one of binary, multiclass, multilabel"),
        (("a", "a"), "binary", "label names must differ, found a, a"),
        (("a", "b", "c"), "binary", "a binary task has two classes, found 3: a, b, c"),
        (("a",), "binary", "a binary task has two classes, found 1: a"),
        (("a", "b"), "multiclass", "three or more classes, found a, b"),
        ((), "multilabel", "there are no labels; name them with labels=A,B,C"),
    ],
)
def test_classes_that_do_not_fit_the_task_are_refused(classes, task, told):
    with pytest.raises(ThoraxError) as caught:
        LabelSpace(classes, task)
    assert told in str(caught.value)


@settings(deadline=None)
@given(NAMES, st.randoms())
def test_the_space_does_not_depend_on_the_order_of_the_images(names, random):
    shuffled = names + names[:2]
    random.shuffle(shuffled)
    if len(names) < 2:
        with pytest.raises(ThoraxError):
            LabelSpace.of_classes(shuffled)
        return
    space = LabelSpace.of_classes(shuffled)
    assert space == LabelSpace.of_classes(names)
    assert sorted(space.classes) == sorted(names)
    assert space.task == ("binary" if len(names) == 2 else "multiclass")
    if space.task == "binary" and space.outputs[0].lower() in NEGATIVE_NAMES:
        assert space.classes[0].lower() in NEGATIVE_NAMES


@settings(deadline=None)
@given(NAMES.filter(bool), st.sampled_from(["binary", "multiclass", "multilabel"]))
def test_a_space_survives_json(names, task):
    try:
        space = LabelSpace(tuple(names), task)
    except ThoraxError:
        return
    assert LabelSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space
