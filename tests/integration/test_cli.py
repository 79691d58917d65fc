"""The `trainserve` command, as people and scripts call it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

import nn
from nn.features import Raw
from nn.spec import SGDSpec
from service.main import main
from tests.integration.support import JSON, Server, cancel, encoded, environment, get, submit, wait

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
        assert spec.training.batch_size == 50
        assert spec.training.optimizer == SGDSpec(learning_rate=0.02, momentum=0.8, nesterov=True)
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

    def test_a_version_layer_by_layer(self, trainserve: TrainServe, http: httpx.Client) -> None:
        shown = [line.split() for line in trainserve("models", "show", "heart@latest").stdout.splitlines()]
        assert ["version", "heart@1"] in shown
        table = shown[[line[:1] for line in shown].index(["layer"]) :]
        assert " ".join(table[0]) == "layer type output parameters multiply adds array bytes activation bytes"
        assert table[1:] == [
            ["input", "23", "-", "-", "-", "-"],
            ["0", "dense", "8", "192", "184", "768", "32"],
            ["1", "relu", "8", "0", "0", "0", "32"],
            ["2", "dense", "1", "9", "8", "36", "4"],
            ["3", "sigmoid", "1", "0", "0", "0", "4"],
            ["total", "-", "201", "192", "804", "72"],
        ]
        assert told(trainserve("models", "show", "heart@1", "--json")) == get(http, "/models/heart/versions/1")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["show", "unheard-of"], "there is no model"),
            (["show", "unheard-of@1"], "there is no model"),
            (["show", "mnist@77"], "there is no mnist@77"),
            (["show", "mnist@champion"], "no alias champion"),
            (["export", "mnist@77", "--format", "onnx"], "there is no mnist@77"),
            (["import", "mine", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
            (["import", "../mine", "--weights", "nowhere.safetensors"], "cannot name a model"),
            (["alias", "mnist", "champion", "77"], "there is no mnist@77"),
            (["download", "mnist@champion"], "no alias champion"),
            (["upload", "mine", "nowhere.npz"], "nowhere.npz"),
        ],
    )
    def test_what_cannot_be_done(self, arguments: list[str], said: str, trainserve: TrainServe) -> None:
        assert said in complaint(trainserve("models", *arguments), 1)


RELU_8_1: list[JSON] = [{"type": "dense", "units": 8}, {"type": "relu"}, {"type": "dense", "units": 1}]


class TestExportAndImport:
    @pytest.mark.parametrize("kind", ["onnx", "safetensors", "npz"])
    def test_what_is_written(
        self, kind: str, process: TrainServe, trainserve: TrainServe, tmp_path: Path, http: httpx.Client
    ) -> None:
        written = told(process("models", "export", "heart", "--format", kind, "--json"))
        data = (tmp_path / f"heart-1.{kind}").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        assert written == {
            "model": "heart", "version": 1, "output": f"heart-1.{kind}", "size": len(data), "sha256": digest,
        }  # fmt: skip
        assert (digest == get(http, "/models/heart/versions/1")["sha256"]) == (kind == "npz")
        again = trainserve("models", "export", "heart@1", "--format", kind, "--output", "other")
        assert again.stdout == "heart@1 written to other\n"
        assert (tmp_path / "other").read_bytes() == data

    def test_onnx_answers_as_the_server_does(
        self, trainserve: TrainServe, tmp_path: Path, http: httpx.Client, digits: tuple[Raw, list[int]]
    ) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        trainserve("models", "export", "mnist@latest", "--format", "onnx")
        session = onnxruntime.InferenceSession(tmp_path / "mnist-1.onnx", providers=["CPUExecutionProvider"])
        inputs = digits[0][:20].reshape(20, -1) / 255
        (found,) = session.run(["probabilities"], {"inputs": inputs.astype(np.float32)})
        answered = http.post("/predict", json={"model": "mnist@1", "inputs": inputs.tolist()}).json()["predictions"]
        np.testing.assert_allclose(found, [answer["probabilities"] for answer in answered], rtol=0, atol=1e-5)

    def test_a_network_for_pictures_from_the_job_to_onnxruntime(
        self, trainserve: TrainServe, tmp_path: Path, http: httpx.Client, digits: tuple[Raw, list[int]]
    ) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        network: JSON = {
            "layers": [
                {"type": "conv2d", "filters": 3, "kernel_size": 5, "stride": 2, "padding": "same"},
                {"type": "batch_norm"},
                {"type": "leaky_relu"},
                {"type": "max_pool2d"},
                {"type": "average_pool2d", "pool_size": 3, "stride": 1},
                {"type": "flatten"},
                {"type": "dropout", "rate": 0.1},
                {"type": "dense", "units": 10},
                {"type": "softmax"},
            ]
        }
        job = submit(http, "mnist", model="pictures", network=network, training={"epochs": 1, "batch_size": 500})
        wait(http, job["id"], "succeeded", seconds=60)
        summary = told(trainserve("models", "show", "pictures@1", "--json"))["summary"]
        assert [layer["type"] for layer in summary["layers"]] == [layer["type"] for layer in network["layers"]]
        assert [layer["output_shape"] for layer in summary["layers"]] == [
            *[[14, 14, 3]] * 3, [7, 7, 3], [5, 5, 3], [75], [75], [10], [10],
        ]  # fmt: skip
        trainserve("models", "export", "pictures", "--format", "onnx")
        session = onnxruntime.InferenceSession(tmp_path / "pictures-1.onnx", providers=["CPUExecutionProvider"])
        inputs = digits[0][:20].reshape(20, -1) / 255
        (found,) = session.run(["probabilities"], {"inputs": inputs.astype(np.float32)})
        answered = http.post("/predict", json={"model": "pictures", "inputs": inputs.tolist()}).json()["predictions"]
        np.testing.assert_allclose(found, [answer["probabilities"] for answer in answered], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("name", ["heart", "toy-regression"])
    def test_weights_go_out_and_come_in_again(
        self, name: str, trainserve: TrainServe, tmp_path: Path, http: httpx.Client
    ) -> None:
        before, example = get(http, f"/models/{name}/versions/1"), get(http, f"/models/{name}/example")
        (tmp_path / "run.json").write_text(json.dumps(before["spec"]))
        trainserve("models", "export", name, "--format", "safetensors", "--output", "weights")
        answers = []
        for spec in ([], ["--spec", "run.json"]):
            imported = told(trainserve("models", "import", f"again-{name}", "--weights", "weights", *spec, "--json"))
            after = get(http, f"/models/again-{name}/versions/{imported['version']}")
            assert (after["sha256"], after["metrics"]) == (imported["sha256"], imported["metrics"])
            assert after["metrics"] == pytest.approx(
                {key: value for key, value in before["metrics"].items() if key.startswith("test_")}, rel=1e-6
            )
            assert {key: after[key] for key in ("spec", "inputs", "outputs", "summary", "dataset_sha256")} == {
                key: before[key] for key in ("spec", "inputs", "outputs", "summary", "dataset_sha256")
            }
            assert "safetensors" in after["library_versions"], "it was not trained here"
            model = f"again-{name}@{imported['version']}"
            answers.append(http.post("/predict", json=example | {"model": model}).json()["predictions"])
        assert answers == 2 * [http.post("/predict", json=example | {"model": name}).json()["predictions"]]
        data = [http.get(f"/models/{name}/versions/1/artifact").content for name in (name, f"again-{name}")]
        own, again = (nn.loads(artifact).network.arrays for artifact in data)
        assert own.keys() == again.keys()
        for array in own:
            np.testing.assert_array_equal(own[array], again[array])

    def test_to_a_file(self, trainserve: TrainServe, tmp_path: Path, http: httpx.Client) -> None:
        trainserve("models", "export", "heart", "--format", "safetensors")
        result = trainserve("models", "import", "heart", "--weights", "heart-1.safetensors", "--output", "heart.npz")
        assert "test_accuracy" in result.stdout
        assert result.stdout.splitlines()[-1] == "written to heart.npz"
        metrics = told(trainserve("evaluate", "heart.npz", "--json"))["metrics"]
        assert metrics == nn.loads((tmp_path / "heart.npz").read_bytes()).metadata.metrics
        assert get(http, "/models/heart")["aliases"] == {"latest": 1}

    @pytest.mark.parametrize(
        ("run", "said"),
        [
            ({"dataset": "iris"}, "no data set 'iris'"),
            (
                {"dataset": "toy-regression", "network": {"layers": RELU_8_1}},
                "layers.0.weight: expected shape (1, 8); got (23, 8)",
            ),
            (
                {"dataset": "heart", "network": {"layers": [{"type": "dense", "units": 1}]}},
                "not known layers.2.bias, layers.2.weight",
            ),
            ({"dataset": "heart", "weights": 1}, "#/weights"),
            ([], "expected an object as POST /jobs takes it"),
        ],
    )
    def test_a_run_that_the_weights_do_not_fit(
        self, run: object, said: str, trainserve: TrainServe, tmp_path: Path, unchanged: None
    ) -> None:
        (tmp_path / "run.json").write_text(json.dumps(run))
        trainserve("models", "export", "heart", "--format", "safetensors")
        result = trainserve("models", "import", "mine", "--weights", "heart-1.safetensors", "--spec", "run.json")
        assert said in complaint(result, 1)

    def test_a_file_that_is_none_and_one_that_tells_no_run(self, trainserve: TrainServe, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"no weights")
        assert "not a safetensors file" in complaint(trainserve("models", "import", "mine", "--weights", "x"), 1)
        (tmp_path / "x").write_bytes(save({"layers.0.weight": np.zeros((23, 1))}))
        assert "--spec" in complaint(trainserve("models", "import", "mine", "--weights", "x"), 1)

    @pytest.mark.parametrize(
        ("library", "arguments"),
        [
            ("onnx", ["export", "heart", "--format", "onnx"]),
            ("safetensors", ["export", "heart", "--format", "safetensors"]),
            ("safetensors", ["import", "mine", "--weights", "x"]),
        ],
    )
    def test_without_the_extra(
        self, library: str, arguments: list[str], trainserve: TrainServe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.delitem(sys.modules, f"service.exports.{library}", raising=False)
        monkeypatch.delattr(f"service.exports.{library}", raising=False)
        assert "pip install 'trainserve[export]'" in complaint(trainserve("models", *arguments), 1)
        assert trainserve("models", "export", "heart", "--format", "npz").returncode == 0


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
