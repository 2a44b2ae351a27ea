"""Settings: plain values -> a frozen dataclass, or the exact reason why not."""

import dataclasses
import difflib
import math
import tomllib
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def decode_settings(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """A dataclass from a mapping. Unknown name, wrong type and missing value each name the setting's full path.

    An int is taken where a float is asked, and the text "none" where nothing is allowed; nothing else is converted, and
    no number may be infinite or NaN. Nested dataclasses are decoded from nested mappings. ``__post_init__`` of the
    dataclass may refuse values with a ValueError of its own.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise ValueError(f"Unknown setting '{where}{name}'.{_nearest(name, fields)}")
    ready: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            ready[name] = _check(values[name], hints[name], f"{where}{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"Setting '{where}{name}' is missing; it must be {_type_name(hints[name])}.")
    return kind(**ready)


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["units=100", "loss=full"]`` -> values, read as TOML where they are TOML and as text otherwise."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"'{assignment}' is not a setting: write name=value, for example epochs=5.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        values[name.strip()] = value
    return values


def split_by_config(values: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """Hands each value to the one dataclass that has a field of that name; an unknown name is refused."""
    owner = {field.name: key for key, kind in kinds.items() for field in dataclasses.fields(kind)}
    shares: dict[str, dict[str, Any]] = {key: {} for key in kinds}
    for name, value in values.items():
        if name not in owner:
            raise ValueError(f"Unknown setting '{name}'.{_nearest(name, owner)}")
        shares[owner[name]][name] = value
    return shares


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known settings: {', '.join(names)}." if names else " There are no settings here."


def _check(value: Any, hint: Any, path: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) not in (None, tuple, list, dict) else (hint,)
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"Setting '{path}' must be a finite number, got {value!r}.")
    if typing.get_origin(hint) is typing.Literal:
        if value not in options:
            raise ValueError(f"Setting '{path}' must be {_type_name(hint)}, got {value!r}.")
        return value
    if value == "none" and type(None) in options:
        return None
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            return decode_settings(typing.cast(type, option), value, f"{path}.")
        if option is float and type(value) is int:
            return float(value)
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            return tuple(_check(item, typing.get_args(option)[0], f"{path}[{i}]") for i, item in enumerate(value))
        if isinstance(option, type) and type(value) is option:
            return value
    raise ValueError(f"Setting '{path}' must be {_type_name(hint)}, got {value!r}.")


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"a list of {_type_name(typing.get_args(hint)[0])}"
    options = typing.get_args(hint) or (hint,)
    return " or ".join(
        "nothing" if option is type(None) else getattr(option, "__name__", str(option)) for option in options
    )
