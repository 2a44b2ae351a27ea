"""Options of ``read_events`` as plain values: the table ``[log]`` of a TOML file, and checks of foreign values.

::

    [log]
    columns = {user_id = "kunde", item_id = "isbn", timestamp = "wann"}
    time_zone = "Europe/Berlin"
    where = "menge > 0"
    events = ["click", "buy"]
    min_user_events = 3
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segue.config.decode import decode_settings, split_by_config
from segue.data.log_description import LogDescription
from segue.data.preprocessing import PreprocessingConfig
from segue.data.readers.column_roles import check_roles
from segue.data.readers.options import ReadOptions

PER_READING = ("strict", "rejected", "allow_loss", "latest_us")
"""Options of one reading: they do not describe the log."""


def read_log_config(path: Path) -> dict[str, Any]:
    """Read the table ``[log]`` of a TOML file, which may hold the settings of a pipeline too.

    Args:
        path: the file.

    Returns:
        Options of ``read_events``.

    Raises:
        ValueError: no TOML, no such table, or an option that ``read_events`` does not take from it.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}.") from None
    if not isinstance(values.get("log"), dict):
        raise ValueError(f"{path} has no table [log], which describes a log.")
    try:
        return check_options(values["log"])
    except ValueError as error:
        raise ValueError(f"{path}, [log]: {error}") from None


def check_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check options of ``read_events`` that come from a file, and return them decoded.

    Args:
        values: options as plain values.

    Raises:
        ValueError: an unknown option, a wrong type or value, or an option of one reading, such as ``rejected``.
    """
    others = {name: value for name, value in values.items() if name != "columns"}
    for name in others:
        if name in PER_READING:
            raise ValueError(f"'{name}' belongs to one reading and does not describe a log: leave it out.")
    parts = split_by_config(others, {"read": ReadOptions, "preprocess": PreprocessingConfig})
    decoded = {
        **dataclasses.asdict(decode_settings(ReadOptions, parts["read"])),
        **dataclasses.asdict(decode_settings(PreprocessingConfig, parts["preprocess"])),
    }
    options = {name: decoded[name] for name in others}
    columns = values.get("columns")
    if columns is None:
        return options
    if not isinstance(columns, Mapping) or not all(isinstance(column, str) for column in columns.values()):
        raise ValueError(f"'columns' must name the column of each role, as item_id = \"sku\", got {columns!r}.")
    check_roles(columns)
    return {**options, "columns": dict(columns)}


def decode_description(values: Any, source: str) -> LogDescription:
    """Return the description of a log that a model holds.

    Args:
        values: plain values of ``LogDescription.to_dict``.
        source: name of the model's folder, for messages.

    Raises:
        ValueError: the values are no description of a log.
    """
    try:
        description = LogDescription.from_dict(values)
        checked = check_options({**description.options, "columns": description.columns})
    except ValueError as error:
        raise ValueError(f"The log that {source} was trained on is described wrongly: {error}") from None
    columns = checked.pop("columns")
    return dataclasses.replace(description, options=checked, columns=columns)


def describe(
    source: Any, options: ReadOptions, preprocessing: PreprocessingConfig, columns: Mapping[str, str]
) -> LogDescription:
    """Return the description of a log that was read.

    Args:
        source: path or table that was read.
        options: options of the reading.
        preprocessing: steps after it.
        columns: role -> column of the log.
    """
    declined = {role: column for role, column in (options.columns or {}).items() if role not in columns}
    given: dict[str, Any] = {}
    for config in (options, preprocessing):
        for one in dataclasses.fields(config):
            value = getattr(config, one.name)
            if one.name not in (*PER_READING, "columns") and value != one.default:
                given[one.name] = list(value) if isinstance(value, tuple) else value
    return LogDescription(given, {**columns, **declined}, suffix_of(source))


def suffix_of(source: Any) -> str:
    """Return the suffix of a file in lower case, without ``.gz``; "" for a table."""
    name = Path(source).name.lower() if isinstance(source, str | Path) else ""
    return Path(name.removesuffix(".gz")).suffix
