"""Hyperparameters as texts: every spelling, every value, and the one line of a mistake."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import strategies as st

from thorax.config import TrainingConfig
from thorax.config.fields import FALSE, TRUE, about, kind
from thorax.config.parse import spellings
from thorax.errors import ThoraxError

FIELDS = {field.name: field for field in dataclasses.fields(TrainingConfig)}
#: Spellings with other values than the field's; they have tests of their own.
TRANSLATED = {"num_layers", "amp"}
PLAIN = sorted(set(spellings()) - TRANSLATED)
LABEL = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,8}[A-Za-z0-9]", fullmatch=True).filter(
    lambda name: name not in ("null", "None", "none")
)


def values(field):
    """Values that a field takes."""
    a, type_ = about(field), kind(field)
    if a.choices:
        return st.sampled_from(list(a.choices))
    if type_ == "bool":
        return st.booleans()
    some = {"min_size": 1 if field.default else 0, "max_size": 4}
    if type_ in ("float", "tuple[float, ...]"):
        number = st.floats(a.low, a.high, exclude_min=a.open_low, allow_infinity=False)
        return number if type_ == "float" else st.lists(number, **some).map(tuple)
    whole = st.integers(int(a.low or 0), int(10**6 if a.high is None else a.high))
    return {
        "int": whole,
        "tuple[int, ...]": st.lists(whole, **some).map(tuple),
        "tuple[str, ...]": st.lists(LABEL, **some).map(tuple),
        "str": LABEL,
    }[type_]


def texts(value):
    """Every text that means a value."""
    if isinstance(value, bool):
        return list(TRUE if value else FALSE)
    if isinstance(value, tuple) and not value:
        return ["", "[]", "null"]
    if isinstance(value, tuple):
        ints = [" ".join(map(str, value)), str(value)] if isinstance(value[0], int) else []
        return [",".join(map(str, value)), ", ".join(map(str, value)), str(list(value)), json.dumps(value), *ints]
    if isinstance(value, float):
        return [repr(value), f" {value!r} ", f"{value:.17e}"]
    return [str(value), f"{value}.0"] if isinstance(value, int) else [value]


@st.composite
def given_texts(draw, names=PLAIN):
    """(spelling, text, field name, value) of one hyperparameter."""
    name = draw(st.sampled_from(names))
    field = spellings()[name][0]
    value = draw(values(field))
    return name, draw(st.sampled_from(texts(value))), field.name, value


def message(texts):
    with pytest.raises(ThoraxError) as caught:
        TrainingConfig.parse(texts)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)
