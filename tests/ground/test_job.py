"""Where a run reads and writes: in SageMaker, plainly, alone and among processes, and what it says when it fails."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import train_model
from thorax.errors import ThoraxError
from thorax.job import CHANNELS, Job, Process


@pytest.fixture
def sagemaker(tmp_path):
    """The environment that the toolkit makes in a job directory, and the directory."""
    for channel in ("train", "validation"):
        (tmp_path / "input" / "data" / channel).mkdir(parents=True)
    return {
        "SAGEMAKER_BASE_DIR": str(tmp_path),
        "SM_MODEL_DIR": str(tmp_path / "model"),
        "SM_OUTPUT_DATA_DIR": str(tmp_path / "output" / "data"),
        "SM_CHANNELS": '["train","validation"]',
        "SM_CHANNEL_TRAIN": str(tmp_path / "input" / "data" / "train"),
        "SM_CHANNEL_VALIDATION": str(tmp_path / "input" / "data" / "validation"),
        "SM_HOSTS": '["algo-1","algo-2"]',
        "SM_CURRENT_HOST": "algo-2",
    }


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """A shell in an empty folder, outside SageMaker."""
    for name in (
        "SM_MODEL_DIR",
        "SM_CHANNELS",
        "SM_OUTPUT_DATA_DIR",
        "SAGEMAKER_BASE_DIR",
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plain(folder, environment=None, **paths):
    return Job.from_environment({"model_dir": str(folder / "out"), **paths}, environment or {})


# -- Paths -------------------------------------------------------------------------------------------------------------


def test_in_sagemaker_everything_lies_below_the_base(sagemaker, tmp_path):
    job = Job.from_environment({}, sagemaker)
    assert job.channels == {"train": tmp_path / "input/data/train", "validation": tmp_path / "input/data/validation"}
    assert (job.model_dir, job.output_dir) == (tmp_path / "model", tmp_path / "output/data")
    assert (job.checkpoint_dir, job.failure_file) == (tmp_path / "checkpoints", tmp_path / "output/failure")
    assert (job.host, job.hosts) == ("algo-2", ("algo-1", "algo-2"))
    assert job.cpus >= 1


@pytest.mark.parametrize("environment", [{"SM_CHANNELS": "[]"}, {"SM_MODEL_DIR": "/opt/ml/model"}])
def test_the_base_is_opt_ml_where_nothing_else_is_said(environment):
    job = Job.from_environment({}, environment)
    places = (job.model_dir, job.output_dir, job.checkpoint_dir, job.failure_file)
    assert [str(place) for place in places] == [
        "/opt/ml/model",
        "/opt/ml/output/data",
        "/opt/ml/checkpoints",
        "/opt/ml/output/failure",
    ]


def test_started_plainly_the_rest_lies_beside_the_bundle(tmp_path):
    job = plain(tmp_path, train="images")
    assert {name: str(path) for name, path in job.channels.items()} == {"train": "images"}
    beside = tmp_path / "out-job"
    assert job.model_dir == tmp_path / "out"
    assert (job.output_dir, job.checkpoint_dir, job.failure_file) == (
        beside / "output/data",
        beside / "checkpoints",
        beside / "output/failure",
    )
    assert (job.host, job.hosts) == ("localhost", ("localhost",))


def test_the_reason_of_a_plain_start_lies_beside_the_bundle_wherever_the_outputs_go(tmp_path):
    job = plain(tmp_path, output_data_dir="results", checkpoint_dir="kept")
    assert job.failure_file == tmp_path / "out-job/output/failure"


def test_arguments_win_over_the_environment(sagemaker, tmp_path):
    given_ = {"train": "t", "model_dir": "m", "output_data_dir": "o/data", "checkpoint_dir": "c", "test": "s"}
    job = Job.from_environment(given_, sagemaker)
    assert (str(job.model_dir), str(job.output_dir), str(job.checkpoint_dir)) == ("m", "o/data", "c")
    assert {name: str(path) for name, path in job.channels.items() if name != "validation"} == {
        "train": "t",
        "test": "s",
    }
    assert job.channels["validation"] == tmp_path / "input/data/validation"
    assert job.failure_file == tmp_path / "output/failure", "SageMaker reads it there and nowhere else"


def test_empty_arguments_are_not_given(sagemaker):
    empty = dict.fromkeys(("train", "model_dir", "output_data_dir", "checkpoint_dir", "weights"), "")
    assert Job.from_environment(empty, sagemaker) == Job.from_environment({}, sagemaker)
    assert (
        Job.from_environment(empty, {})
        == Job.from_environment({}, {"SM_CHANNEL_TRAIN": ""})
        == Job.from_environment({}, {})
    )


@pytest.mark.parametrize(("name", "other"), [(name, other) for name, others in CHANNELS.items() for other in others])
def test_a_channel_is_found_under_each_of_its_names(name, other, tmp_path):
    job = Job.from_environment({}, {f"SM_CHANNEL_{other.upper()}": str(tmp_path)})
    assert job.channels == {name: tmp_path}
    assert job.channel(name) == tmp_path


def test_it_does_not_look_at_the_process_when_it_is_told_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SM_CHANNEL_TRAIN", str(tmp_path))
    assert Job.from_environment({}, {}).channels == {}
    assert Job.from_environment().channels == {"train": tmp_path}


def test_a_missing_channel_is_told_with_its_flag(tmp_path):
    with pytest.raises(ThoraxError) as caught:
        plain(tmp_path).channel("train")
    assert (
        str(caught.value) == "channel train is missing; give --train DIR (on SageMaker: an input channel named train)"
    )


@pytest.mark.parametrize("path", ["nowhere", "file/below", "x" * 5000])
def test_a_channel_that_is_not_there_is_told_with_its_path(tmp_path, path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ThoraxError, match=r"channel test: .* does not exist; check --test"):
        plain(tmp_path, test=str(tmp_path / path)).channel("test")


@pytest.mark.parametrize("name", ["train", "output_data_dir", "model_dir"])
def test_an_address_is_no_path(name, tmp_path):
    with pytest.raises(ThoraxError, match=f"--{name} s3://bucket/images is not a folder of this machine"):
        plain(tmp_path, **{name: "s3://bucket/images"})


def test_a_job_below_a_folder_is_laid_out_as_in_sagemaker_and_alone(tmp_path, monkeypatch):
    for name, text in {"RANK": "1", "WORLD_SIZE": "2", "SM_MODEL_DIR": "/x", "MLFLOW_TRACKING_URI": "http://a"}.items():
        monkeypatch.setenv(name, text)
    job = Job.below(tmp_path / "run", {"train": "images"})
    below = tmp_path / "run"
    assert (job.model_dir, job.output_dir) == (below / "model", below / "output/data")
    assert (job.checkpoint_dir, job.failure_file) == (below / "checkpoints", below / "output/failure")
    assert {name: str(path) for name, path in job.channels.items()} == {"train": "images"}
    assert (job.process, job.name, job.mlflow_uri) == (Process(), "run", "http://a")
    with pytest.raises(ThoraxError, match="channel tets is unknown; known are train, "):
        Job.below(below, {"tets": "images"})


# -- Processes ---------------------------------------------------------------------------------------------------------


def test_torchrun_tells_rank_and_world_size():
    environment = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    process = Job.from_environment({}, environment).process
    assert process == Process(rank=3, world_size=4, local_rank=1, local_world_size=2)
    assert not process.is_main
    assert Job.from_environment({}, {**environment, "RANK": "0"}).process.is_main


@pytest.mark.parametrize("environment", [{}, {"RANK": "1"}, {"WORLD_SIZE": "2"}, {"LOCAL_RANK": "1"}])
def test_without_torchrun_there_is_one_process(environment):
    assert Job.from_environment({}, environment).process == Process(0, 1, 0, 1)


# -- Folders that must be writable -------------------------------------------------------------------------------------


def test_prepare_makes_the_folders_and_leaves_them_empty(tmp_path):
    job = plain(tmp_path)
    job.prepare()
    job.prepare()
    for folder in (job.model_dir, job.output_dir, job.checkpoint_dir):
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "name"),
    [("--model-dir", "model_dir"), ("--output-data-dir", "output_data_dir"), ("--checkpoint-dir", "checkpoint_dir")],
)
@pytest.mark.parametrize("place", ["file", "file/below", "/proc/thorax"])
def test_a_folder_that_cannot_be_written_is_told_with_its_flag(tmp_path, flag, name, place):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ThoraxError) as caught:
        plain(tmp_path, **{name: str(tmp_path / place)}).prepare()
    assert str(caught.value).startswith(f"{flag} {tmp_path / place} cannot be written: ")
    assert str(caught.value).endswith("; choose another folder or make it writable")


def test_a_folder_that_is_there_but_takes_no_files_is_told():
    with pytest.raises(ThoraxError, match="--model-dir /proc cannot be written: "):
        Job.from_environment({"model_dir": "/proc"}, {}).prepare()


def test_a_plain_start_must_name_the_model_directory(outside):
    with pytest.raises(ThoraxError, match="--model-dir is missing"):
        Job.from_environment({"train": "."}, {}).prepare()
    assert list(outside.iterdir()) == []


# -- The reason of a failure -------------------------------------------------------------------------------------------


def test_the_reason_is_one_line_in_the_file_and_on_standard_error(tmp_path, capsys):
    job = plain(tmp_path)
    job.fail("NaN loss at step 7")
    assert job.failure_file.read_text() == "NaN loss at step 7\n"
    assert capsys.readouterr().err == "error: NaN loss at step 7\n"


@settings(deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_any_message_becomes_one_line(tmp_path_factory, message):
    job = plain(tmp_path_factory.mktemp("job"))
    job.fail(message + "\udcff\n.")
    assert len(job.failure_file.read_text(encoding="utf-8").splitlines()) == 1


def test_a_reason_that_is_there_is_kept_but_this_one_is_told(tmp_path, capsys):
    job = plain(tmp_path)
    job.fail("the first")
    job.fail("the second")
    assert job.failure_file.read_text() == "the first\n"
    assert capsys.readouterr().err == "error: the first\nerror: the second\n"


def test_of_several_processes_only_the_first_to_fail_speaks(tmp_path, capsys):
    jobs = [plain(tmp_path, {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}) for rank in (1, 0)]
    for job in jobs:
        job.fail("a.png cannot be read")
    told = "a.png cannot be read (rank 1 of 2)\n"
    assert jobs[0].failure_file.read_text() == told
    assert capsys.readouterr().err == f"error: {told}"


@pytest.mark.parametrize("place", ["file/below", "/proc/thorax"])
def test_where_the_file_cannot_be_written_the_reason_is_still_told(tmp_path, capsys, place):
    (tmp_path / "file").write_bytes(b"")
    job = plain(tmp_path, model_dir=str(tmp_path / place))
    job.fail("the disk is full")
    assert capsys.readouterr().err == "error: the disk is full\n"
    job.clear_failure()


def test_a_new_run_takes_the_reason_of_the_last_one_away(tmp_path):
    job = plain(tmp_path)
    job.clear_failure()
    job.fail("the first run")
    job.clear_failure()
    job.fail("the second run")
    assert job.failure_file.read_text() == "the second run\n"


# -- The entry point ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--lerning_rate", "0.1"], "unknown hyperparameter lerning_rate; did you mean learning_rate?"),
        (["--epochs", "many"], "epochs='many' is not a whole number"),
        (
            ["--image_shape", "1,10,10"],
            "image_shape=1,10,10 is too small for network=resnet50: at least 32 pixels a side",
        ),
        (["--output_dir", "s3://b/k"], "--output_data_dir s3://b/k is not a folder of this machine"),
        (["--val", "a", "--validation", "b"], "--validation b and --val a are two spellings of one path"),
        (["images"], "'images' belongs to no option; write --name value"),
    ],
)
def test_a_users_mistake_is_one_line_and_code_1_each_time(outside, capsys, words, expected):
    for _ in range(2):
        assert train_model.main(words) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: {expected}")
        assert err.count("\n") == 1
    assert list(outside.iterdir()) == [], "a plain start without --model-dir leaves nothing behind"


def test_a_name_alone_is_refused_of_a_person_and_a_warning_in_a_container(outside, capsys, monkeypatch):
    words = ["--train", "nowhere", "--use_weighted_loss"]
    assert train_model.main(words) == 1
    assert capsys.readouterr() == ("", "error: --use_weighted_loss has no value; write --use_weighted_loss true\n")
    monkeypatch.setenv("SM_MODEL_DIR", str(outside / "model"))
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(outside))
    assert train_model.main(words) == 1
    out, err = capsys.readouterr()
    assert out.startswith("warning: --use_weighted_loss has no value and is left at its default\n")
    assert err.startswith("error: channel train: nowhere does not exist")


def test_a_plain_run_leaves_its_reason_beside_the_bundle_and_the_next_one_replaces_it(outside):
    for value in ("many", "more"):
        assert train_model.main(["--model-dir", "runs/out", "--train", "images", "--epochs", value]) == 1
        assert (outside / "runs/out-job/output/failure").read_text() == f"epochs={value!r} is not a whole number\n"
    assert [path.name for path in outside.iterdir()] == ["runs"]
    assert [path.name for path in (outside / "runs").iterdir()] == ["out-job"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs", "3", "--epochs", "4"], "--epochs is given twice"),
        (["--train", "a", "--train", "b"], "--train is given twice"),
        (["--train", "s3://b/x"], "--train s3://b/x is not a folder of this machine"),
        (["--val", "a", "--validation", "b"], "--validation b and --val a are two spellings"),
        (["--output-data-dir", "a", "--output-dir", "b"], "--output_data_dir a and --output_dir b are two spellings"),
        (["--train", "nowhere", "--output-data-dir", "results"], "channel train: nowhere does not exist"),
    ],
)
@pytest.mark.parametrize("first", [[], ["astray"]])
def test_a_wrong_command_line_leaves_its_reason_there_too_in_place_of_the_last_one(outside, words, expected, first):
    reason = outside / "out-job/output/failure"
    reason.parent.mkdir(parents=True)
    reason.write_text("an old one\n")
    assert train_model.main([*first, *words, "--model-dir", "out"]) == 1
    assert reason.read_text().startswith("'astray' belongs to no option" if first else expected)
    assert [path.name for path in outside.iterdir()] == ["out-job"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--epochs", "many"], "epochs='many' is not a whole number"), (["images"], "'images' belongs to no option")],
)
def test_in_sagemaker_the_reason_is_where_sagemaker_looks(sagemaker, outside, monkeypatch, words, expected):
    for name, value in sagemaker.items():
        monkeypatch.setenv(name, value)
    assert train_model.main(words) == 1
    assert (outside / "output/failure").read_text().startswith(expected)


def test_jobs_of_a_search_keep_their_checkpoints_apart():
    """They share one S3 address, which SageMaker copies to and from /opt/ml/checkpoints of each."""
    search = {"SM_MODEL_DIR": "/opt/ml/model", "TRAINING_JOB_NAME": "search-007", "THORAX_CHECKPOINTS": "per-job"}
    assert str(Job.from_environment({}, search).checkpoint_dir) == "/opt/ml/checkpoints/search-007"
    alone = {key: text for key, text in search.items() if key != "THORAX_CHECKPOINTS"}
    assert str(Job.from_environment({}, alone).checkpoint_dir) == "/opt/ml/checkpoints"
