"""The command line: paths apart from hyperparameters, in every dialect that a platform writes."""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sagemaker_training import mapping

from conftest import SCRIPT, clean_environment
from thorax.command_line import names_alone, read_command_line, read_model_dir, show_help
from thorax.config import TrainingConfig
from thorax.config.parse import parse, spellings
from thorax.errors import ThoraxError
from thorax.job import PATHS

#: One word each, so that a shell may split them: what launchers let through.
LABEL = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("null", "None", "none")
)
#: Hyperparameters as a notebook holds them.
NOTEBOOK = st.fixed_dictionaries(
    {},
    optional={
        "mini_batch_size": st.integers(1, 512),
        "lr": st.floats(1e-9, 10.0),
        "use_weighted_loss": st.one_of(st.none(), st.booleans()),
        "multi_label": st.one_of(st.none(), st.booleans()),
        "labels": st.lists(LABEL, unique=True, max_size=4),
        "unfreeze_epochs": st.lists(st.integers(1, 99), max_size=4),
        "clip_grad_norm": st.one_of(st.none(), st.floats(1e-9, 100.0)),
        "optimizer": st.sampled_from(["sgd", "adam"]),
        "weights": st.one_of(st.none(), st.just("a/b.pt")),
    },
)


def message(*words):
    with pytest.raises(ThoraxError) as caught:
        TrainingConfig.parse(read_command_line(words)[1])
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# -- Paths -------------------------------------------------------------------------------------------------------------


def test_paths_and_hyperparameters_are_told_apart():
    words = [
        "--train",
        "images/train",
        "--model-dir",
        "out",
        "--output_dir=results",
        "--lr",
        "0.1",
        "--batch-size=8",
        "--val",
        "images/val",
    ]
    paths, hyperparameters = read_command_line(words)
    assert paths == {
        "train": "images/train",
        "model_dir": "out",
        "output_data_dir": "results",
        "validation": "images/val",
    }
    assert hyperparameters == {"lr": "0.1", "batch_size": "8"}


def test_nothing_given_is_nothing_read():
    assert read_command_line([]) == ({}, {})


@pytest.mark.parametrize(("path", "spelling"), [(path, s) for path, others in PATHS.items() for s in (path, *others)])
def test_every_spelling_of_a_path_is_taken(path, spelling):
    for words in ([f"--{spelling}", "a b=c"], [f"--{spelling.replace('_', '-')}", "a b=c"], [f"--{spelling}=a b=c"]):
        assert read_command_line(words)[0] == {path: "a b=c"}


def test_an_empty_path_is_not_given():
    assert read_command_line(["--train", "", "--val", "", "--validation", "images", "--test="])[0] == {
        "validation": "images"
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--use_weighted_loss"], "--use_weighted_loss has no value; write --use_weighted_loss true"),
        (["--epochs", "--lr", "0.01"], "--epochs has no value; write --epochs VALUE"),
        (["--train", "images", "--test"], "--test has no value; write --test VALUE"),
        (["--model-dir", "--train", "images"], "--model_dir has no value; write --model_dir VALUE"),
        (["--compile", "--compile", "true"], "--compile has no value; write --compile true"),
    ],
)
def test_a_name_alone_is_a_forgotten_value_but_empty_in_a_container(words, expected):
    assert message(*words) == expected
    name = expected.split()[0].removeprefix("--")
    assert names_alone(words) == [name]
    if words[0] != "--compile":
        paths, hyperparameters = read_command_line(words, in_container=True)
        assert not paths.get(name)
        assert not hyperparameters.get(name)


def test_weights_are_a_path_and_a_hyperparameter():
    assert read_command_line(["--weights", "w.pt"]) == ({"weights": "w.pt"}, {"weights": "w.pt"})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("--val", "a", "--validation", "b"),
            "--validation b and --val a are two spellings of one path; give one of them",
        ),
        (("--output-dir", "a", "--output_data_dir", "b"), "--output_data_dir b and --output_dir a are two spellings"),
        (("--checkpoints", "a", "--checkpoint-dir", "b"), "--checkpoint_dir b and --checkpoints a are two spellings"),
    ],
)
def test_two_spellings_of_a_path_with_two_values_are_refused(words, expected):
    assert expected in message(*words)
    assert read_command_line([words[0], "a", words[2], "a"])[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["astray", "--model-dir", "out"], "out"),
        (["--model-dir=out", "--epochs", "3", "--epochs", "4"], "out"),
        (["--model_dir", "a", "--model-dir", "b"], "a"),
        (["--model-dir", "", "--model-dir", "s3://b/k", "--model-dir", "c"], "c"),
        (["--model-dir"], None),
        (["--train", "images"], None),
    ],
)
def test_the_model_directory_is_read_of_a_wrong_command_line(words, expected):
    assert read_model_dir(words) == ({"model_dir": expected} if expected else {})


# -- Words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--labels", "No Finding,Mass"], "No Finding,Mass"),
        (["--labels", "No Finding", "Mass"], "No Finding,Mass"),
        (["--labels", "['No Finding', 'Mass']"], "['No Finding', 'Mass']"),
        (["--labels", "[No,", "Mass]"], "No,Mass"),
        (["--labels=A", "B"], "A,B"),
        (["--labels="], ""),
        (["--labels", ""], ""),
        (["--labels", "A,", ""], "A"),
    ],
)
def test_the_words_of_a_list_become_one_text(words, text):
    assert read_command_line(words)[1] == {"labels": text}


@pytest.mark.parametrize("words", [["-k", "3"], ["--k", "3"], ["-k=3"]])
def test_a_one_letter_name_is_an_option_and_unknown(words):
    assert message(*words).startswith("unknown hyperparameter k;")


@pytest.mark.parametrize("text", ["-1", "-0.5", "-.5", "-1e-3", "-"])
def test_a_negative_number_is_a_value(text):
    assert read_command_line(["--seed", text, "--lr", "0.1"])[1] == {"seed": text, "lr": "0.1"}


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_a_value(number):
    assert read_command_line(["--lr", str(number), "--eps", repr(number)])[1] == {
        "lr": str(number),
        "eps": repr(number),
    }


def test_equals_signs_after_the_first_belong_to_the_value():
    assert read_command_line(["--weights=a=b.pt"])[1] == {"weights": "a=b.pt"}


@pytest.mark.parametrize("word", ["images", "3", "-1", "-", "--", ""])
def test_a_word_before_any_option_is_refused(word):
    assert message(word, "--lr", "0.1") == f"{word!r} belongs to no option; write --name value"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--lr", "0.1", "--lr", "0.2"), "--lr is given twice, as '0.1' and as '0.2'; give it once"),
        (("--batch-size=4", "--batch_size", "8"), "--batch_size is given twice, as '4' and as '8'"),
        (("--train", "a", "--train=b"), "--train is given twice, as 'a' and as 'b'"),
        (("--compile=", "--compile", "true"), "--compile is given twice, as '' and as 'true'"),
    ],
)
def test_an_option_given_twice_is_refused_with_both_values(words, expected):
    assert expected in message(*words)


def test_an_option_given_twice_with_one_value_is_taken():
    assert read_command_line(["--lr", "0.1", "--lr=0.1", "--train", "a", "--train", "a"]) == (
        {"train": "a"},
        {"lr": "0.1"},
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("--lerning-rate", "learning_rate"),
        ("--trian", "train"),
        ("--modeldir", "model_dir"),
        ("--outputdir", "output_dir"),
        ("--checkpoint-dirs", "checkpoint_dir"),
        ("--validate", "validation"),
        ("--output-data", "output_data_dir"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_path_or_hyperparameter(name, nearest):
    assert (
        message("--epochs", "3", "--model-dir", "out", name, "x")
        == f"unknown hyperparameter {name[2:].replace('-', '_')}; did you mean {nearest}?"
    )


def test_the_platforms_own_keys_pass():
    words = ["--sagemaker_program", "train_model.py", "--_tuning_objective_metric", "validation:auc", "--lr", "0.1"]
    assert TrainingConfig.parse(read_command_line(words)[1]) == TrainingConfig(learning_rate=0.1)


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["--lr", "0.1", "--help"], ["--nonsense", "-h"]])
def test_help_lists_every_path_and_spelling_and_ends_well(words, capsys):
    assert show_help(words)
    expected = capsys.readouterr().out
    assert [name for name in spellings() if name not in expected] == []
    assert [name for name in PATHS if f"--{name.replace('_', '-')} " not in expected] == []


def test_help_takes_nothing_of_an_earlier_run_away(tmp_path):
    failure = tmp_path / "out-job" / "output" / "failure"
    failure.parent.mkdir(parents=True)
    failure.write_text("why")
    subprocess.run(
        [sys.executable, SCRIPT, "--model-dir", tmp_path / "out", "--help"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=clean_environment(),
    )
    assert failure.read_text() == "why"


def test_help_into_a_closed_pipe_ends_without_an_error():
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.sampled_from(
                [
                    "--lr",
                    "--train",
                    "--model-dir",
                    "--model_dir=out",
                    "--labels=",
                    "-k",
                    "--",
                    "-5",
                    "['a',",
                    "--=x",
                    "---lr",
                ]
            ),
        ),
        max_size=8,
    )
)
def test_any_words_at_all_are_read_or_are_a_users_error(words):
    model_dir = read_model_dir(words)
    try:
        paths, hyperparameters = read_command_line(words)
    except ThoraxError:
        return
    assert model_dir.get("model_dir") == paths.get("model_dir")
    assert set(paths) <= set(PATHS)
    assert all(isinstance(text, str) for text in [*paths.values(), *hyperparameters.values()])


# -- Dialects ----------------------------------------------------------------------------------------------------------


def classic(notebook):
    """The toolkit 5.1.4: str() of each value."""
    return mapping.to_cmd_args(notebook)


def shell(notebook):
    """The toolkit 5.1.1: the same through a shell, so lists fall into words and empty texts vanish."""
    return shlex.split(" ".join(mapping.to_cmd_args(notebook)))


def drivers(notebook):
    """SDK v3's sm_drivers: JSON of each value."""
    return [
        word
        for key, value in notebook.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]


@settings(max_examples=150, deadline=None)
@given(NOTEBOOK, st.sampled_from([classic, shell, drivers]))
def test_each_dialect_of_the_platform_means_what_the_notebook_said(notebook, dialect):
    fields = {spellings()[key][0].name: value for key, value in notebook.items()}
    defaults = {name: TrainingConfig.__dataclass_fields__[name].default for name in fields}
    meant = {
        name: defaults[name] if value is None else tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
    }
    assert {**defaults, **parse(read_command_line(dialect(notebook), in_container=True)[1])} == meant


def test_what_the_dialects_write():
    notebook = {"amp": True, "resize": None, "labels": ["a", "b"]}
    assert classic(notebook) == ["--amp", "True", "--labels", "['a', 'b']", "--resize", ""]
    assert shell(notebook) == ["--amp", "True", "--labels", "[a,", "b]", "--resize"]
    assert drivers(notebook) == ["--amp", "true", "--resize", "null", "--labels", '["a", "b"]']


def test_no_hyperparameter_is_taken_for_a_path() -> None:
    """A name that is both would never reach the configuration; weights alone may be, since it is a path in both."""
    paths = {name for first, others in PATHS.items() for name in (first, *others)}
    assert paths & {field.name for field in dataclasses.fields(TrainingConfig)} <= {"weights"}
    _, values = read_command_line(["--train", "x", "--model-dir", "y", "--folds", "3", "--fold", "2"])
    config = TrainingConfig.parse(values)
    assert (config.folds, config.fold) == (3, 2)
