"""Decoding of settings: accepted values, conversions, and messages for all others."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from segue.config.decode import decode_settings, parse_assignments, split_by_config


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Outer:
    rate: float
    units: int = 100
    loss: Literal["full", "sampled"] = "full"
    window_days: float | None = None
    layers: tuple[int, ...] = (1,)
    inner: Inner = field(default_factory=Inner)
    shuffle: bool = False
    mode: bool | Literal["last"] = True
    parts: tuple[Inner, ...] = ()

    def __post_init__(self) -> None:
        if self.units < 1:
            raise ValueError(f"units must be at least 1, got {self.units}.")


@dataclass(frozen=True)
class Nothing:
    pass


def refusal(kind, values):
    with pytest.raises(ValueError) as error:
        decode_settings(kind, values)
    return str(error.value)


def test_values_of_every_type_are_decoded():
    values = {
        "rate": 0.5,
        "units": 7,
        "loss": "sampled",
        "window_days": 3.5,
        "layers": [2, 3],
        "inner": {"depth": 4},
        "shuffle": True,
        "mode": "last",
    }
    assert decode_settings(Outer, values) == Outer(0.5, 7, "sampled", 3.5, (2, 3), Inner(4), True, "last")
    assert decode_settings(Outer, {**values, "mode": False}).mode is False


def test_missing_settings_keep_their_defaults():
    assert decode_settings(Outer, {"rate": 1.0}) == Outer(1.0)


@pytest.mark.parametrize("nothing", [None, "none"])
def test_none_is_decoded_if_allowed(nothing):
    assert decode_settings(Outer, {"rate": 1.0, "window_days": nothing}).window_days is None


def test_an_int_becomes_a_float():
    decoded = decode_settings(Outer, {"rate": 2, "window_days": 30})
    assert (type(decoded.rate), type(decoded.window_days)) == (float, float)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rate": 1.0, "unit": 3}, "Unknown setting 'unit'. Did you mean 'units'?"),
        (
            {"rate": 1.0, "zzz": 3},
            "Unknown setting 'zzz'. Known settings: inner, layers, loss, mode, parts, rate, shuffle, units, "
            "window_days.",
        ),
        ({}, "Setting 'rate' is missing; it must be float."),
        ({"rate": "1"}, "Setting 'rate' must be float, got '1'."),
        ({"rate": True}, "Setting 'rate' must be float, got True."),
        ({"rate": "none"}, "Setting 'rate' must be float, got 'none'."),
        ({"rate": float("nan")}, "Setting 'rate' must be a finite number, got nan."),
        ({"rate": 1.0, "window_days": float("inf")}, "Setting 'window_days' must be a finite number, got inf."),
        ({"rate": 1.0, "units": 3.0}, "Setting 'units' must be int, got 3.0."),
        ({"rate": 1.0, "units": True}, "Setting 'units' must be int, got True."),
        ({"rate": 1.0, "shuffle": 1}, "Setting 'shuffle' must be bool, got 1."),
        ({"rate": 1.0, "loss": "none"}, "Setting 'loss' must be one of 'full', 'sampled', got 'none'."),
        ({"rate": 1.0, "window_days": "x"}, "Setting 'window_days' must be float or none, got 'x'."),
        ({"rate": 1.0, "mode": "first"}, "Setting 'mode' must be bool or 'last', got 'first'."),
        ({"rate": 1.0, "mode": 1}, "Setting 'mode' must be bool or 'last', got 1."),
        ({"rate": 1.0, "layers": 2}, "Setting 'layers' must be a list of int, got 2."),
        ({"rate": 1.0, "layers": [1, "2"]}, "Setting 'layers[1]' must be int, got '2'."),
        ({"rate": 1.0, "inner": {"dept": 2}}, "Unknown setting 'inner.dept'. Did you mean 'depth'?"),
        ({"rate": 1.0, "inner": {"depth": 2.5}}, "Setting 'inner.depth' must be int, got 2.5."),
        ({"rate": 1.0, "inner": 3}, "Setting 'inner' must be Inner, got 3."),
        (
            {"rate": 1.0, "parts": {"depth": 2}},
            "Setting 'parts' is a list of tables: write [[parts]] instead of [parts], once for each.",
        ),
        ({"rate": 1.0, "parts": 2}, "Setting 'parts' must be a list of Inner, got 2."),
        ({"rate": 1.0, "units": 0}, "units must be at least 1, got 0."),
    ],
)
def test_anything_else_is_refused_by_its_path(values, sentence):
    assert refusal(Outer, values) == sentence


def test_a_model_without_settings_has_its_own_message():
    assert refusal(Nothing, {"deep": 1}) == "Unknown setting 'deep'. There are no settings here."


def test_assignments_are_read_as_toml_and_else_as_text():
    assert parse_assignments(
        ["units=100", "rate = 1e-3", "loss=full", "layers=[1, 2]", "shuffle=true", "window_days=none"]
    ) == {
        "units": 100,
        "rate": 0.001,
        "loss": "full",
        "layers": [1, 2],
        "shuffle": True,
        "window_days": "none",
    }


@pytest.mark.parametrize("text", ["units", "=5", " =5"])
def test_an_assignment_needs_a_name_and_a_value(text):
    with pytest.raises(ValueError) as error:
        parse_assignments([text])
    assert str(error.value) == f"'{text}' is not a setting: write name=value, for example epochs=5."


def test_values_go_to_the_dataclass_that_has_the_field():
    shares = split_by_config({"depth": 2, "rate": 0.1}, {"net": Inner, "training": Outer})
    assert shares == {"net": {"depth": 2}, "training": {"rate": 0.1}}


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError) as error:
        split_by_config({"depht": 2}, {"net": Inner, "training": Outer})
    assert str(error.value) == "Unknown setting 'depht'. Did you mean 'depth'?"
