"""Decoding of plain values (from TOML, JSON or name=value arguments) into dataclasses, with exact error messages."""

import dataclasses
import difflib
import math
import tomllib
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def decode_settings(config_type: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Decode a mapping into a dataclass. Nested dataclasses are decoded from nested mappings.

    An int is accepted for a float, and the text "none" for None. Nothing else is converted.

    Args:
        config_type: dataclass with typed fields.
        values: setting -> plain value.
        path: prefix of the settings' names in messages, such as ``train.``.

    Raises:
        ValueError: unknown setting, missing setting, wrong type, infinity or NaN, or a value that ``__post_init__`` of
            the dataclass refuses. The message names the setting's full path.
    """
    hints = typing.get_type_hints(config_type)
    fields = {field.name: field for field in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise ValueError(f"Unknown setting '{path}{name}'.{_nearest(name, fields)}")
    decoded: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            decoded[name] = _check(values[name], hints[name], f"{path}{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"Setting '{path}{name}' is missing; it must be {_type_name(hints[name])}.")
    return config_type(**decoded)


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Parse ``["units=100", "loss=full"]`` into values, as TOML if possible and else as text.

    Raises:
        ValueError: an assignment has no name or no "=".
    """
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


def split_by_config(values: Mapping[str, Any], config_types: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """Split values by the dataclass that has a field of that name.

    Args:
        values: setting -> plain value.
        config_types: key -> dataclass; field names are distinct.

    Returns:
        Key -> values of that dataclass.

    Raises:
        ValueError: no dataclass has such a field.
    """
    owner = {field.name: key for key, type_ in config_types.items() for field in dataclasses.fields(type_)}
    parts: dict[str, dict[str, Any]] = {key: {} for key in config_types}
    for name, value in values.items():
        if name not in owner:
            raise ValueError(f"Unknown setting '{name}'.{_nearest(name, owner)}")
        parts[owner[name]][name] = value
    return parts


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
    named = [
        name for part in (hint, *options) if typing.get_origin(part) is typing.Literal for name in typing.get_args(part)
    ]
    if isinstance(value, str) and value in named:
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
    if isinstance(value, Mapping) and any(_is_list_of_tables(option) for option in options):
        raise ValueError(f"Setting '{path}' is a list of tables: write [[{path}]] instead of [{path}], once for each.")
    raise ValueError(f"Setting '{path}' must be {_type_name(hint)}, got {value!r}.")


def _is_list_of_tables(hint: Any) -> bool:
    parts = typing.get_args(hint)
    return typing.get_origin(hint) is tuple and bool(parts) and dataclasses.is_dataclass(parts[0])


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"a list of {_type_name(typing.get_args(hint)[0])}"
    options = typing.get_args(hint) or (hint,)
    names = (_type_name(option) if typing.get_args(option) else option.__name__ for option in options)
    return " or ".join("none" if name == "NoneType" else name.removeprefix("one of ") for name in names)
