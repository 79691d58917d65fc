"""The `trainserve` command, as people and scripts call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from PIL import Image

import nn
from nn.features import Raw
from service.main import main
from tests.integration.support import JSON, Server, cancel, encoded, environment, get, submit

Result = subprocess.CompletedProcess[str]
TrainServe = Callable[..., Result]


@pytest.fixture
def settings(server: Server, tmp_path: Path) -> dict[str, str]:
    """The tests' own server to talk to, and a repository in an empty directory."""
    return environment(
        server=server.url,
        database_url=f"sqlite:///{tmp_path}/own.db",
        artifacts_url=tmp_path / "own",
        log_format="text",
    )


@pytest.fixture
def process(settings: dict[str, str], tmp_path: Path) -> TrainServe:
    """Runs the command as a process of its own."""

    def run(*arguments: object, **more: str) -> Result:
        command = [sys.executable, "-m", "service.main", *map(str, arguments)]
        options: Any = {"capture_output": True, "text": True, "timeout": 60, "check": False}
        return subprocess.run(command, cwd=tmp_path, env=settings | more, **options)

    return run


@pytest.fixture
def trainserve(
    settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> TrainServe:
    """Runs the command in this process, which takes a tenth of the time."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        with patch.dict(os.environ, settings), pytest.raises(SystemExit) as ended:
            main(command := list(map(str, arguments)))
        shown = capsys.readouterr()
        return Result(command, int(ended.value.code or 0), shown.out, shown.err)

    return run


def told(result: Result) -> Any:
    """What the command prints with --json."""
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def complaint(result: Result, status: int) -> str:
    """The one line of a command that fails."""
    assert (result.returncode, result.stdout) == (status, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("trainserve: ")
    return line


class TestHelp:
    @pytest.mark.parametrize("command", ["", "serve", "train", "evaluate", "predict", "jobs", "models"])
    def test_it_shows_examples(self, command: str, trainserve: TrainServe) -> None:
        result = trainserve(*command.split(), "--help")
        assert result.returncode == 0
        assert f"examples:\n  trainserve {command or 'serve'}" in result.stdout
        assert result.stderr == ""

    @pytest.mark.parametrize("arguments", [[], ["fly"], ["serve", "--port", "x"], ["predict", "--inputs", "{"]])
    def test_a_wrong_call_ends_with_2(self, arguments: list[str], trainserve: TrainServe) -> None:
        result = trainserve(*arguments)
        assert result.returncode == 2
        assert "usage: trainserve" in result.stderr


class TestTrain:
    def test_to_a_file_that_evaluate_reads_in_another_process(self, process: TrainServe, tmp_path: Path) -> None:
        options = (
            "--layers",
            8,
            "tanh",
            1,
            "--epochs",
            4,
            "--batch-size",
            50,
            "--learning-rate",
            0.02,
            "--momentum",
            0.8,
        )
        trained = told(process("train", "toy-regression", *options, "--nesterov", "--output", "fit.npz", "--json"))
        assert [row["epoch"] for row in trained["epochs"]] == [1, 2, 3, 4]
        spec = nn.loads((tmp_path / "fit.npz").read_bytes()).metadata.spec
        assert (spec.training.batch_size, spec.training.optimizer.nesterov) == (50, True)
        assert (spec.training.optimizer.learning_rate, spec.training.optimizer.momentum) == (0.02, 0.8)
        assert not (tmp_path / "own").exists(), "nothing is published"
        evaluated = told(process("evaluate", "fit.npz", "--json"))
        assert evaluated["metrics"]["test_loss"] == pytest.approx(trained["metrics"]["test_loss"], rel=1e-6)

    def test_to_the_repository_with_a_table_and_a_plot(self, trainserve: TrainServe, tmp_path: Path) -> None:
        first = trainserve("train", "toy-regression", "--epochs", 3, "--model", "bell", "--plot")
        assert first.returncode == 0, first.stderr
        lines = first.stdout.splitlines()
        assert lines[0].split()[:2] == ["epoch", "loss"]
        assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
        assert "published as bell@1" in lines
        with Image.open(tmp_path / "training.png") as plot:
            assert plot.format == "PNG"
        again = told(trainserve("train", "toy-regression", "--epochs", 3, "--model", "bell", "--json"))
        assert again["version"] == 2
        assert "test_r2" in trainserve("evaluate", "bell@latest").stdout

    def test_the_error_rate_is_told_where_there_are_classes(self, trainserve: TrainServe) -> None:
        result = trainserve("train", "heart", "--epochs", 2, "--output", "heart.npz")
        assert {"loss", "error", "accuracy"} <= set(result.stdout.splitlines()[0].split())

    def test_from_a_file_in_which_options_change_a_field(self, trainserve: TrainServe, tmp_path: Path) -> None:
        body = {"dataset": "heart", "training": {"epochs": 50, "seed": 7, "early_stopping": None}}
        (tmp_path / "run.json").write_text(json.dumps(body))
        trained = told(trainserve("train", "--spec", "run.json", "--epochs", 2, "--output", "x.npz", "--json"))
        assert len(trained["epochs"]) == 2
        assert nn.loads((tmp_path / "x.npz").read_bytes()).metadata.spec.training.seed == 7

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["train"], "name a data set (mnist, heart, toy-regression)"),
            (["train", "iris"], "no data set 'iris'"),
            (["train", "heart", "--epochs", "0"], "#/training/epochs"),
            (["train", "heart", "--layers", "8", "relu"], "dense with 1 unit"),
            (["train", "heart", "--layers", "0", "1"], "units"),
            (["train", "heart", "--initializer", "he"], "--layers"),
            (["train", "heart", "--model", "../x"], "cannot name a model"),
            (["train", "--spec", "nowhere.json"], "nowhere.json"),
            (
                ["train", "toy-regression", "--learning-rate", "1000", "--epochs", "3", "--output", "x"],
                "diverged in epoch 1",
            ),
            (["evaluate", "nowhere.npz"], "nowhere.npz"),
            (["evaluate", "unheard-of"], "there is no model 'unheard-of'"),
        ],
    )
    def test_what_cannot_be_done_is_said_in_one_line(
        self, arguments: list[str], said: str, trainserve: TrainServe, tmp_path: Path
    ) -> None:
        result = trainserve(*arguments)
        assert result.returncode == 1
        assert said in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr
        assert not list(tmp_path.rglob("*.npz"))


class TestPredict:
    def test_pictures(
        self, process: TrainServe, trainserve: TrainServe, tmp_path: Path, digits: tuple[Raw, list[int]]
    ) -> None:
        for index, (name, kind) in enumerate([("[b]seven.png", "PNG"), ("two.jpg", "JPEG")]):
            (tmp_path / name).write_bytes(encoded(Image.fromarray(digits[0][index]).resize((200, 200)), kind))
        shown = process("predict", "[b]seven.png", "two.jpg").stdout.splitlines()
        assert [line.split()[:2] for line in shown[1:]] == [["[b]seven.png", "7"], ["two.jpg", "2"]]
        answers = told(trainserve("predict", "[b]seven.png", "two.jpg", "--json"))
        assert [answer["predictions"][0]["label"] for answer in answers] == [7, 2]

    def test_numbers_and_records(self, trainserve: TrainServe, http: httpx.Client) -> None:
        numbers = told(trainserve("predict", "--model", "toy-regression@1", "--inputs", "[[0.35], [0.7]]", "--json"))
        assert len(numbers["predictions"]) == 2
        records = json.dumps(get(http, "/models/heart/example")["records"])
        explained = told(trainserve("predict", "--model", "heart", "--records", records, "--explain"))
        assert "saw" in explained["predictions"][0]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "give picture files"),
            (["a.png", "--inputs", "[[1]]"], "give picture files"),
            (["nowhere.png"], "nowhere.png"),
            (["--model", "unheard-of", "--inputs", "[[1]]"], "there is no model 'unheard-of'"),
            (["--inputs", "[[1]]"], "expected 784 numbers"),
        ],
    )
    def test_what_cannot_be_answered(self, arguments: list[str], said: str, trainserve: TrainServe) -> None:
        assert said in complaint(trainserve("predict", *arguments), 1)

    def test_where_no_server_is(self, trainserve: TrainServe) -> None:
        line = complaint(trainserve("models", "--server", "http://127.0.0.1:9"), 1)
        assert "no server answers at http://127.0.0.1:9" in line
        assert "trainserve serve" in line


class TestJobs:
    def test_submit_wait_show_and_delete(self, process: TrainServe, trainserve: TrainServe) -> None:
        command = ("jobs", "submit", "toy-regression", "--model", "by-command", "--epochs", 2, "--wait", "--json")
        job = told(process(*command))
        assert job["status"] == "succeeded"
        shown = trainserve("jobs", "show", job["id"]).stdout
        assert "by-command@1" in shown
        assert "test_r2" in shown
        assert job["id"] in process("jobs", "list", "--status", "succeeded").stdout
        assert len(trainserve("jobs", "history", job["id"]).stdout.splitlines()) == 3
        assert trainserve("jobs", "delete", job["id"]).returncode == 0
        assert "there is no job" in complaint(trainserve("jobs", "show", job["id"]), 1)

    def test_a_job_that_failed_ends_the_command_with_1(self, trainserve: TrainServe) -> None:
        command = ("jobs", "submit", "toy-regression", "--learning-rate", 1000, "--wait")
        result = trainserve(*command)
        assert result.returncode == 1
        assert "diverged" in result.stdout


class TestQueuedJobs:
    def test_cancel(self, trainserve: TrainServe, http: httpx.Client, occupied: str) -> None:
        job: JSON = submit(http)
        assert told(trainserve("jobs", "cancel", job["id"], "--json"))["status"] == "cancelled"

    def test_json_is_what_the_server_told_and_nothing_else(
        self, trainserve: TrainServe, http: httpx.Client, occupied: str
    ) -> None:
        metadata = {"who": ":smile: [bold]x[/bold] [/] " + "long " * 60, "emoji": "a:100:b"}
        job = submit(http, metadata=metadata)
        assert told(trainserve("jobs", "show", job["id"], "--json"))["metadata"] == metadata
        cancel(http, job["id"])


class TestModels:
    def test_list_show_alias_download_and_upload(
        self, process: TrainServe, trainserve: TrainServe, tmp_path: Path
    ) -> None:
        listed = process("models").stdout
        assert all(f"{name}@1" in listed for name in ("mnist", "heart", "toy-regression"))
        assert told(trainserve("models", "download", "toy-regression@latest", "--json"))["version"] == 1
        assert (tmp_path / "toy-regression-1.npz").is_file()
        assert trainserve("models", "upload", "carried", "toy-regression-1.npz").stdout.startswith("carried@1")
        assert told(trainserve("models", "alias", "carried", "champion", 1, "--json"))["aliases"] == [
            "champion",
            "latest",
        ]
        assert "champion, latest" in trainserve("models", "show", "carried").stdout

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["show", "unheard-of"], "there is no model"),
            (["alias", "mnist", "champion", "77"], "there is no mnist@77"),
            (["download", "mnist@champion"], "no alias champion"),
            (["upload", "mine", "nowhere.npz"], "nowhere.npz"),
        ],
    )
    def test_what_cannot_be_done(self, arguments: list[str], said: str, trainserve: TrainServe) -> None:
        assert said in complaint(trainserve("models", *arguments), 1)


class TestServe:
    @pytest.mark.parametrize(
        ("setting", "value", "said"),
        [
            ("TRAINSERVE_SLOTS", "0", "TRAINSERVE_SLOTS"),
            ("TRAINSERVE_DATABASE_URL", "nonsense", "not a database URL"),
        ],
    )
    def test_a_setting_that_cannot_be_is_said_in_one_line(
        self, setting: str, value: str, said: str, process: TrainServe
    ) -> None:
        assert said in complaint(process("serve", "--port", 0, **{setting: value}), 2)

    def test_a_port_that_is_taken(self, process: TrainServe, server: Server) -> None:
        result = process("serve", "--port", httpx.URL(server.url).port)
        assert result.returncode == 2
        assert result.stderr.startswith("trainserve: cannot listen on 127.0.0.1 port")
        assert "TRAINSERVE_PORT" in result.stderr
        assert len(result.stderr.splitlines()) == 1
