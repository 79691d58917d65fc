from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from service import resources
from service.errors import ConfigurationError
from service.settings import Settings, documented, load


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TRAINSERVE_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.default_model) == ("127.0.0.1", 8000, "mnist")
    assert settings.slots == max(1, resources.cores() - 1)
    assert settings.training_threads is None, "that depends on what is trained"


def test_the_environment_sets_and_arguments_go_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSERVE_PORT", "9000")
    monkeypatch.setenv("TRAINSERVE_SLOTS", "3")
    monkeypatch.setenv("TRAINSERVE_LEASE_SECONDS", "4.5")
    monkeypatch.setenv("TRAINSERVE_TRAINING_THREADS", "2")
    settings = load(port=9001)
    assert (settings.port, settings.slots, settings.lease_seconds, settings.training_threads) == (9001, 3, 4.5, 2)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRAINSERVE_PORT", "65536"),
        ("TRAINSERVE_PORT", "http"),
        ("TRAINSERVE_SLOTS", "0"),
        ("TRAINSERVE_TRAINING_THREADS", "-1"),
        ("TRAINSERVE_TRAINING_THREADS", "0"),
        ("TRAINSERVE_TRAINING_THREADS", "many"),
        ("TRAINSERVE_LEASE_SECONDS", "2"),
        ("TRAINSERVE_LEASE_SECONDS", "nan"),
        ("TRAINSERVE_GRACE_SECONDS", "inf"),
        ("TRAINSERVE_MAX_BODY", "1e6x"),
        ("TRAINSERVE_LOG_FORMAT", "xml"),
    ],
)
def test_a_value_that_cannot_be_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        load()
    assert variable in str(caught.value)
    assert repr(value) in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSERVE_SLOTS", "0")
    monkeypatch.setenv("TRAINSERVE_PORT", "x")
    with pytest.raises(ConfigurationError, match=r"TRAINSERVE_PORT.*TRAINSERVE_SLOTS"):
        load()


def test_they_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load().port = 1  # type: ignore[misc]


def test_every_setting_is_documented() -> None:
    rows = list(documented())
    assert [variable.strip("`") for variable, _, _ in rows] == [
        f"TRAINSERVE_{name.upper()}" for name in Settings.model_fields
    ]
    assert all(len(meaning) > 10 for _, _, meaning in rows)
    assert "None" not in {default.strip("`") for _, default, _ in rows}
