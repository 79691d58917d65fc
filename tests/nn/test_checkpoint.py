from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nn import (
    ArtifactError,
    DivergedError,
    FitResult,
    Model,
    Network,
    RunSpec,
    checkpoint,
    complete,
    dumps,
    loads,
    npz,
    train,
)
from nn.datasets import DATASETS, Table
from nn.fitting import FitState, begin, steps_per_epoch
from nn.schema import to_json
from tests.nn.support import samples

Members = dict[str, bytes]
Metadata = dict[str, Any]


def dense(units: int) -> dict[str, Any]:
    return {"type": "dense", "units": units}


def layer(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": name, **fields}


PICTURES = {
    "layers": [
        *(layer("conv2d", filters=3), layer("batch_norm"), layer("relu"), layer("max_pool2d")),
        *(layer("conv2d", filters=4, stride=2, padding="same"), layer("gelu"), layer("average_pool2d")),
        *(layer("flatten"), layer("dropout", rate=0.3), dense(10)),
    ]
}
# The data set, the network and the training of a run each.
RUNS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "plain steps": ("toy-regression", None, {"epochs": 3, "optimizer": {"type": "sgd", "learning_rate": 0.05}}),
    "momentum, decay, steps of the rate": (
        "heart",
        None,
        {
            "epochs": 4,
            "optimizer": {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01},
            "schedule": {"type": "step", "every": 2, "factor": 0.5},
        },
    ),
    "nesterov, clipped, exponential": (
        "toy-regression",
        None,
        {
            "epochs": 3,
            "clip_norm": 0.5,
            "optimizer": {"type": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True},
            "schedule": {"type": "exponential", "factor": 0.7},
            "loss": "huber",
        },
    ),
    "adam, cosine, dropout": (
        "heart",
        {"layers": [dense(8), layer("elu"), layer("dropout", rate=0.4), dense(1)]},
        {"epochs": 4, "optimizer": {"type": "adam"}, "schedule": {"type": "cosine", "warm_up": 0.2}},
    ),
    "rmsprop, plateau, early stopping": (
        "heart",
        {"layers": [dense(16), layer("batch_norm"), layer("tanh"), layer("dropout", rate=0.2), dense(1)]},
        {
            "epochs": 100,
            "optimizer": {"type": "rmsprop", "learning_rate": 0.02},
            "schedule": {"type": "reduce_on_plateau", "patience": 1, "factor": 0.5},
            "early_stopping": {"patience": 4},
        },
    ),
    "plateau without validation": (
        "toy-regression",
        None,
        {
            "epochs": 4,
            "validation_fraction": 0,
            "loss": "mean_absolute_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
            "schedule": {"type": "reduce_on_plateau", "patience": 1, "factor": 0.5, "min_delta": 0.05},
        },
    ),
    "smoothed labels, weighted classes, float64": (
        "heart",
        {"layers": [dense(8), layer("softplus"), dense(2)], "dtype": "float64"},
        {
            "epochs": 3,
            "loss": "cross_entropy",
            "label_smoothing": 0.1,
            "class_weights": [1, 2.5],
            "optimizer": {"type": "adam", "weight_decay": 0.001},
        },
    ),
    "pictures, adamw, one cycle, augmentation": (
        "few-digits",
        PICTURES,
        {
            "epochs": 3,
            "batch_size": 40,
            "validation_fraction": 0.2,
            "optimizer": {"type": "adamw"},
            "schedule": {"type": "one_cycle"},
            "augmentation": {"shift": 1.5, "rotation": 10, "elastic": 1},
        },
    ),
    "dense pictures, augmentation": (
        "few-digits",
        {"layers": [dense(16), layer("relu"), dense(10), layer("softmax")]},
        {"epochs": 3, "batch_size": 32, "optimizer": {"type": "adam"}, "augmentation": {"scale": 0.1, "shear": 5}},
    ),
}


def told(result: FitResult) -> tuple[object, ...]:
    """All that is told of a training, but how long it took."""
    return result.best_epoch, result.stopped, [replace(epoch, seconds=0) for epoch in result.epochs]


def undisturbed(run: RunSpec, threads: int = 1) -> tuple[bytes, FitResult, list[bytes]]:
    """The artifact of a run, how training went, and its checkpoints, one an epoch."""
    checkpoints: list[bytes] = []
    model, result = train(run, threads=threads, on_checkpoint=lambda make: checkpoints.append(make()))
    assert len(checkpoints) == len(result.epochs)
    return dumps(model), result, checkpoints


@pytest.mark.usefixtures("few_digits")
class TestResume:
    @pytest.mark.parametrize("name", RUNS)
    def test_after_any_epoch_gives_the_bytes_of_the_undisturbed_run(self, name: str) -> None:
        run = complete(*RUNS[name])
        artifact, result, checkpoints = undisturbed(run)
        for done, data in enumerate(checkpoints, 1):
            heard: list[int] = []
            model, resumed = train(run, resume=data, on_epoch=lambda epoch: heard.append(epoch.epoch))  # noqa: B023
            assert dumps(model) == artifact, f"resumed after epoch {done}"
            assert told(resumed) == told(result)
            assert [epoch.seconds for epoch in resumed.epochs[:done]] == [e.seconds for e in result.epochs[:done]]
            assert heard == list(range(done + 1, len(result.epochs) + 1))

    @pytest.mark.parametrize("name", RUNS)
    def test_again_and_again_after_every_epoch(self, name: str) -> None:
        run = complete(*RUNS[name])
        artifact, result, checkpoints = undisturbed(run)
        resume: bytes | None = None
        for _ in checkpoints:
            kept: list[bytes] = []
            model, resumed = train(
                run,
                resume=resume,
                on_checkpoint=lambda make: kept.append(make()),  # noqa: B023
                should_stop=lambda _: bool(kept),  # noqa: B023
            )
            (resume,) = kept
        assert (dumps(model), told(resumed)) == (artifact, told(result))

    def test_the_runs_are_what_they_are_meant_to_be(self) -> None:
        """One stops early, some epochs after its best; rates fall on a plateau."""
        _, early, _ = undisturbed(complete(*RUNS["rmsprop, plateau, early stopping"]))
        assert 1 < early.best_epoch == len(early.epochs) - 4 < 90
        assert len({epoch.learning_rate for epoch in early.epochs}) > 2
        _, plateau, _ = undisturbed(complete(*RUNS["plateau without validation"]))
        assert len({epoch.learning_rate for epoch in plateau.epochs}) > 1

    def test_within_an_epoch_begins_it_again(self) -> None:
        run = complete(*RUNS["momentum, decay, steps of the rate"])
        artifact, _, checkpoints = undisturbed(run)
        steps = steps_per_epoch(206, run.training)
        interrupted, result = train(run, resume=checkpoints[1], should_stop=lambda step: step >= 2 * steps)
        assert (result.stopped, len(result.epochs)) == (True, 2)
        assert dumps(interrupted) != artifact
        assert dumps(train(run, resume=checkpoints[1])[0]) == artifact

    @pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 2)])
    def test_with_any_number_of_threads(self, before: int, after: int) -> None:
        run = complete(*RUNS["pictures, adamw, one cycle, augmentation"])
        expected, result, _ = undisturbed(run)
        artifact, threaded, checkpoints = undisturbed(run, before)
        assert (artifact, told(threaded)) == (expected, told(result))
        for data in checkpoints:
            model, resumed = train(run, resume=data, threads=after)
            assert (dumps(model), told(resumed)) == (expected, told(result))

    def test_a_run_that_diverges_does_so_in_the_same_epoch(self) -> None:
        """One step an epoch, at a rate at which the error grows by a third each time."""
        training = {"epochs": 500, "batch_size": 2048, "optimizer": {"type": "sgd", "learning_rate": 1.0}}
        run = complete("toy-regression", {"layers": [dense(1)]}, training)
        kept: list[bytes] = []
        epochs: list[int] = []
        for resume in (lambda: None, lambda: kept[50]):
            with pytest.raises(DivergedError) as caught:
                train(run, resume=resume(), on_checkpoint=lambda make: kept.append(make() if len(kept) == 50 else b""))
            epochs.append(caught.value.epoch)
        assert epochs[0] == epochs[1] > 50

    def test_a_checkpoint_is_made_only_where_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []
        monkeypatch.setattr(checkpoint, "dumps", lambda *_: made.append(1))
        run = complete("toy-regression", None, {"epochs": 3})
        offered: list[Callable[[], bytes]] = []
        train(run, on_checkpoint=offered.append)
        assert (len(offered), made) == (3, [])


SMALL = complete(
    "toy-regression",
    {"layers": [dense(3), layer("batch_norm"), layer("tanh"), dense(1)]},
    {
        "epochs": 4,
        "batch_size": 64,
        "optimizer": {"type": "adam"},
        "schedule": {"type": "reduce_on_plateau"},
        "early_stopping": {"patience": 3},
    },
)


@pytest.fixture(scope="module")
def digest() -> str:
    return DATASETS["toy-regression"].load().sha256()


@pytest.fixture(scope="module")
def model() -> Model:
    return train(SMALL)[0]


@pytest.fixture(scope="module")
def data() -> bytes:
    """A checkpoint behind the second of four epochs."""
    return undisturbed(SMALL)[2][1]


@pytest.fixture
def members(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def metadata(data: bytes) -> Metadata:
    with npz.opened(data, "checkpoint") as reader:
        found: Metadata = reader.metadata()
        return found


def packed(members: Members) -> bytes:
    """A zip of these members, its checksums right whatever they hold."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def with_metadata(members: Members, metadata: object) -> bytes:
    return packed({**members, "metadata.npy": npy(np.frombuffer(json.dumps(metadata).encode(), np.uint8))})


class Begun:
    """A run that has just begun."""

    def __init__(self, run: RunSpec = SMALL) -> None:
        self.run = run
        self.rng = np.random.default_rng(1)
        self.network = Network(run.network, (1,), "identity", self.rng)
        x = np.zeros((100, 1))
        self.state: FitState = begin(self.network, samples(x, x), run.training)

    def restore(self, data: bytes, digest: str) -> None:
        checkpoint.restore(data, self.run, digest, self.network, self.state, self.rng)

    def all_of_it(self) -> tuple[object, ...]:
        state = self.state
        arrays = {**state.optimizer, **{f"schedule {name}": array for name, array in state.schedule.items()}}
        return (
            self.network.vector.tobytes(),
            self.network.statistics.tobytes(),
            state.best_vector.tobytes(),
            state.best_statistics.tobytes(),
            {name: array.tobytes() for name, array in arrays.items()},
            (state.best_loss, state.best_epoch, list(state.epochs)),
            json.dumps(self.rng.bit_generator.state),
        )


def refused(data: bytes, digest: str, message: str, run: RunSpec = SMALL) -> None:
    """It is an `ArtifactError` that says so, and nothing has changed."""
    begun = Begun(run)
    before = begun.all_of_it()
    with pytest.raises(ArtifactError, match=message) as caught:
        begun.restore(data, digest)
    assert begun.all_of_it() == before
    assert len(str(caught.value)) < 1000
    assert " at 0x" not in str(caught.value)


def test_it_restores_all_that_there_is(data: bytes, digest: str) -> None:
    begun, again = Begun(), Begun()
    before = begun.all_of_it()
    begun.restore(data, digest)
    assert all(one != other for one, other in zip(begun.all_of_it(), before, strict=True))
    assert (len(begun.state.epochs), begun.state.best_epoch) in ((2, 1), (2, 2))
    copied = checkpoint.dumps(begun.run, digest, begun.network, begun.state, begun.rng)
    assert copied == data
    again.restore(copied, digest)
    assert again.all_of_it() == begun.all_of_it()


def test_numpy_alone_reads_it(data: bytes, metadata: Metadata) -> None:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        assert json.loads(archive["metadata"].tobytes()) == metadata
        assert archive["vector"].shape == archive["best.vector"].shape == archive["optimizer.sums"].shape
        assert (archive["optimizer.steps"].shape, archive["schedule.lowest"].shape) == ((), ())
        assert archive["optimizer.steps"] == 2 * steps_per_epoch(1440, SMALL.training)


class TestAnotherRun:
    @pytest.mark.parametrize(
        ("network", "training", "place"),
        [
            (None, {"seed": 2}, "#/training/seed: 1 there, 2 here"),
            (None, {"epochs": 9}, "#/training/epochs: 4 there, 9 here"),
            (None, {"optimizer": {"type": "sgd"}}, "#/training/optimizer/type: 'adam' there, 'sgd' here"),
            (None, {"optimizer": {"learning_rate": 0.5}}, "#/training/optimizer/learning_rate: 0.001 there, 0.5 here"),
            (None, {"schedule": {"type": "constant"}}, "#/training/schedule/type: 'reduce_on_plateau' there"),
            (None, {"early_stopping": None}, "#/training/early_stopping: {'patience': 3, 'min_delta': 0.0} there"),
            ({"layers": [dense(4), dense(1)]}, {}, "#/network/layers"),
            ({"layers": [dense(1)] * 64}, {}, "#/network/layers"),
            ({"layers": [dense(4), layer("batch_norm"), layer("tanh"), dense(1)]}, {}, "#/network/layers/0/units: 3"),
            ({"layers": [dense(3), layer("batch_norm"), layer("relu"), dense(1)]}, {}, "#/network/layers/2/type: 'tan"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_the_first_difference_and_what_to_do_are_told(
        self, network: Any, training: dict[str, Any], place: str, data: bytes, digest: str
    ) -> None:
        merged = {**to_json(SMALL.training), **training}
        if "type" not in training.get("optimizer", {"type": ""}):
            merged["optimizer"] = {**to_json(SMALL.training.optimizer), **training["optimizer"]}
        other = complete("toy-regression", network or to_json(SMALL.network), merged)
        refused(data, digest, rf"the checkpoint is of another run \({place}", other)
        refused(data, digest, "resume that one, or start this one without a checkpoint", other)

    def test_of_another_data_set(self, data: bytes) -> None:
        with pytest.raises(ArtifactError, match="#/dataset: 'toy-regression' there, 'heart' here"):
            train(complete("heart"), resume=data)

    def test_with_other_data(self, data: bytes, digest: str) -> None:
        refused(data, "0" * 64, "made with other data; start the run without a checkpoint")

    def test_whose_data_have_changed_meanwhile(self, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset = DATASETS["toy-regression"]
        table = dataset.load()
        changed = Table(table.inputs + 1, table.targets)
        monkeypatch.setitem(DATASETS, dataset.name, replace(dataset, load=lambda: changed))
        with pytest.raises(ArtifactError, match="made with other data"):
            train(SMALL, resume=data)

    def test_an_artifact_is_no_checkpoint_and_a_checkpoint_no_artifact(
        self, model: Model, data: bytes, digest: str
    ) -> None:
        refused(dumps(model), digest, "expected a checkpoint of version 1; got ")
        with pytest.raises(ArtifactError, match="expected format version 1 or 2; got "):
            loads(data)


class TestDamage:
    """Whatever becomes of the bytes: `ArtifactError`, or the same state where it did no harm; nothing else."""

    @pytest.fixture
    def whole(self, data: bytes, digest: str) -> tuple[object, ...]:
        begun = Begun()
        begun.restore(data, digest)
        return begun.all_of_it()

    def outcome(self, data: bytes, digest: str) -> tuple[object, ...] | None:
        begun = Begun()
        before = begun.all_of_it()
        try:
            begun.restore(data, digest)
        except ArtifactError:
            assert begun.all_of_it() == before
            return None
        return begun.all_of_it()

    def test_cut_anywhere(self, data: bytes, digest: str) -> None:
        lengths = {*range(0, len(data), 17), len(data) - 1}
        assert all(self.outcome(data[:length], digest) is None for length in lengths)

    @pytest.mark.parametrize("flip", [0x01, 0xFF])
    def test_a_byte_changed(self, flip: int, data: bytes, digest: str, whole: object) -> None:
        for place in range(flip % 11, len(data), 11):
            spoilt = bytearray(data)
            spoilt[place] ^= flip
            assert self.outcome(bytes(spoilt), digest) in (None, whole)

    def test_a_gap_or_a_repetition(self, data: bytes, digest: str, whole: object) -> None:
        for place in range(0, len(data) - 16, 37):
            for spoilt in (data[:place] + data[place + 16 :], data[:place] + data[place : place + 16] + data[place:]):
                assert self.outcome(spoilt, digest) in (None, whole)

    @pytest.mark.parametrize("name", ["metadata.npy", "optimizer.steps.npy", "best.vector.npy"])
    def test_a_byte_changed_by_someone_who_mends_the_checksum(self, name: str, members: Members, digest: str) -> None:
        for place in range(0, len(members[name]), 7 if name == "metadata.npy" else 3):
            for flip in (0x01, 0xFF):
                content = bytearray(members[name])
                content[place] ^= flip
                self.outcome(packed({**members, name: bytes(content)}), digest)

    @pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + bytes(18), bytes(1000), b"checkpoint"])
    def test_something_else(self, data: bytes, digest: str) -> None:
        refused(data, digest, "not a whole .npz file that trainserve wrote|not a checkpoint of trainserve")

    def test_another_npz(self, digest: str) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, weights=np.ones(3))
        refused(buffer.getvalue(), digest, r"not a checkpoint of trainserve: it has no member metadata\.npy")


class TestArrays:
    @pytest.mark.parametrize("name", ["vector", "best.statistics", "optimizer.sums", "schedule.waited"])
    def test_missing(self, name: str, members: Members, digest: str) -> None:
        del members[f"{name}.npy"]
        refused(packed(members), digest, rf"missing \['{name}\.npy'\], not known \[\]")

    def test_unknown(self, members: Members, digest: str) -> None:
        members["optimizer.velocity.npy"] = members["optimizer.sums.npy"]
        refused(packed(members), digest, r"missing \[\], not known \['optimizer\.velocity\.npy'\]")

    @pytest.mark.parametrize(
        ("name", "array"),
        [
            ("vector", np.zeros(16, np.float64)),
            ("vector", np.zeros(17, np.float32)),
            ("statistics", np.zeros((2, 3), np.float32)),
            ("best.vector", np.zeros(0, np.float32)),
            ("optimizer.steps", np.zeros(1, np.int64)),
            ("optimizer.steps", np.zeros((), np.float64)),
            ("schedule.lowest", np.zeros((), np.float32)),
        ],
        ids=lambda value: value if isinstance(value, str) else f"{value.dtype}{value.shape}",
    )
    def test_of_another_dtype_or_shape(
        self, name: str, array: np.ndarray[Any, Any], members: Members, digest: str
    ) -> None:
        refused(packed({**members, f"{name}.npy": npy(array)}), digest, rf"{name}\.npy: expected .npy 1.0 with")


# What is changed in the state of a generator, or with an ellipsis taken out.
GENERATORS: dict[str, dict[str, Any]] = {
    "no fields": dict.fromkeys(("bit_generator", "state", "has_uint32", "uinteger"), ...),
    "another kind": {"bit_generator": "MT19937", "state": {"key": [1] * 624, "pos": 624}},
    "another kind's name": {"bit_generator": "PCG64DXSM"},
    "no name": {"bit_generator": ...},
    "null for a name": {"bit_generator": None},
    "a list for a name": {"bit_generator": ["PCG64"]},
    "no state": {"state": ...},
    "null for a state": {"state": None},
    "a list for a state": {"state": [1, 2]},
    "a word for a state": {"state": "x"},
    "an empty state": {"state": {}},
    "half a state": {"state": {"state": 1}},
    "words in the state": {"state": {"state": "x", "inc": 1}},
    "null in the state": {"state": {"state": None, "inc": 1}},
    "a fraction in the state": {"state": {"state": 1.5, "inc": 1}},
    "NaN in the state": {"state": {"state": float("nan"), "inc": 1}},
    "a negative state": {"state": {"state": -1, "inc": 1}},
    "129 bits": {"state": {"state": 1, "inc": 2**128}},
    "400 digits": {"state": {"state": 10**400, "inc": 1}},
    "a word for has_uint32": {"has_uint32": "x"},
    "null for has_uint32": {"has_uint32": None},
    "a huge has_uint32": {"has_uint32": 2**70},
    "no uinteger": {"uinteger": ...},
    "a negative uinteger": {"uinteger": -1},
    "33 bits of uinteger": {"uinteger": 2**32},
    "a fraction of uinteger": {"uinteger": 1.5},
    "a list for uinteger": {"uinteger": []},
}


def position(**changes: object) -> Callable[[Metadata], None]:
    return lambda metadata: metadata.update(changes)


class TestMetadata:
    @pytest.mark.parametrize("version", [0, 2, -1, True, 1.0, "1", None, [1], 10**400, "x" * 1000])
    def test_of_another_version(self, version: object, members: Members, metadata: Metadata, digest: str) -> None:
        changed = with_metadata(members, metadata | {"checkpoint_version": version})
        refused(changed, digest, "expected a checkpoint of version 1; got |#/checkpoint_version: expected a whole")

    @pytest.mark.parametrize("found", [[], "text", 1, None, {}, {"checkpoint_version": 1}], ids=str)
    def test_that_tell_nothing(self, found: object, members: Members, digest: str) -> None:
        refused(with_metadata(members, found), digest, "expected a checkpoint of version 1; got |missing; expected")

    @pytest.mark.parametrize("case", GENERATORS)
    def test_with_a_generator_that_is_none(self, case: str, members: Members, metadata: Metadata, digest: str) -> None:
        metadata["generator"] = {
            name: value for name, value in (metadata["generator"] | GENERATORS[case]).items() if value is not ...
        }
        refused(with_metadata(members, metadata), digest, "generator")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (position(generator=None), "#/generator: expected an object"),
            (position(dataset_sha256=5), "#/dataset_sha256: expected a string"),
            (position(surprise=1), "#/surprise: unknown field"),
            (position(best_loss="low"), "#/best_loss: expected a number"),
            (position(best_loss=float("nan")), "#/best_loss: expected a number"),
            (position(best_epoch=-1), "#/best_epoch: expected a whole number at least 0"),
            (position(best_epoch=1.5), "#/best_epoch: expected a whole number"),
            (position(epochs={}), "#/epochs: expected a list"),
            (position(epochs=[1]), "#/epochs/0: expected an object"),
            (lambda metadata: metadata["epochs"][1].pop("training"), "#/epochs/1/training: missing"),
            (lambda metadata: metadata["epochs"][1].update(seconds="1"), "#/epochs/1/seconds: expected a number"),
            (lambda metadata: metadata["epochs"][1].update(epoch="1"), "#/epochs/1/epoch: expected a whole number"),
            (lambda metadata: metadata["epochs"][1]["training"].update(loss=None), "#/epochs/1/training/loss: exp"),
            (lambda metadata: metadata["spec"]["training"].update(epochs=0), "#/spec/training/epochs: expected"),
            (lambda metadata: metadata["spec"]["network"].update(layers=[]), "#/spec/network/layers: expected 1 to 64"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )  # fmt: skip
    def test_out_of_range(
        self, change: Callable[[Metadata], object], message: str, members: Members, metadata: Metadata, digest: str
    ) -> None:
        change(metadata)
        refused(with_metadata(members, metadata), digest, f"the metadata of the checkpoint cannot be used: {message}")

    @pytest.mark.parametrize(
        "change",
        [
            position(best_epoch=3),
            position(best_epoch=10**6),
            position(epochs=[]),
            lambda metadata: metadata["epochs"].pop(0),
            lambda metadata: metadata["epochs"].reverse(),
            lambda metadata: metadata["epochs"][1].update(epoch=7),
            lambda metadata: metadata["epochs"][0].update(epoch=-1),
            lambda metadata: metadata.update(
                epochs=[{**metadata["epochs"][0], "epoch": number} for number in range(1, 10)]
            ),
        ],
    )
    def test_with_epochs_that_cannot_have_been(
        self, change: Callable[[Metadata], object], members: Members, metadata: Metadata, digest: str
    ) -> None:
        """More of them than the run has, a best one that is not among them, or other numbers than 1, 2, …"""
        changed = copy.deepcopy(metadata)
        change(changed)
        assert changed != metadata
        refused(with_metadata(members, changed), digest, "epoch")
