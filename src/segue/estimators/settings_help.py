"""Documentation of settings at run time: type, range, default and text of each field of a settings class."""

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from segue.config.ranges import ranges_of

WIDTH = 100
"""Line width of the generated text."""


def field_docs(config: type) -> dict[str, str]:
    """Return the docstring beneath each field of a settings class, by the field's name, on one line.

    They exist in the source only, so that it is parsed.
    """
    docs: dict[str, str] = {}
    for owner in reversed(config.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                docs[field.target.id] = " ".join(str(text.value.value).split())
    return docs


def type_text(hint: Any) -> str:
    """Return a type as it stands in source code, without its module and its range.

    >>> type_text(float | None), type_text(tuple[str, ...]), type_text(Literal["a", "b"])
    ('float | None', 'tuple[str, ...]', "Literal['a', 'b']")
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(type_text, arguments))
    if origin is not None:
        inner = ", ".join("..." if part is Ellipsis else type_text(part) for part in arguments)
        return f"{origin.__name__}[{inner}]"
    return "None" if hint is type(None) else str(getattr(hint, "__name__", hint))


def settings_section(title: str, config: type, defaults: Mapping[str, Any]) -> list[str]:
    """Return the lines of a section that lists the settings of one class.

    Args:
        title: heading of the section.
        config: a settings class.
        defaults: default of each setting, where it differs from the class's own.
    """
    docs, ranges = field_docs(config), ranges_of(config)
    hints = typing.get_type_hints(config)
    lines = [f"{title}:"]
    for field in dataclasses.fields(config):
        bounds = f", {ranges[field.name]}" if field.name in ranges else ""
        text = docs.get(field.name, "").rstrip(".")
        default = defaults.get(field.name, field.default)
        entry = f"{field.name} ({type_text(hints[field.name])}{bounds}): {text}. Default: {default!r}."
        lines += textwrap.wrap(entry, WIDTH, initial_indent="    ", subsequent_indent="        ")
    return lines


class SettingsDoc:
    """Docstring of a recommender class, assembled when it is read: the sources are parsed for ``help`` only."""

    def __init__(self, summary: str, sections: Iterable[tuple[str, type]], defaults: Mapping[str, Any]) -> None:
        self._summary = summary
        self._sections = tuple(sections)
        self._defaults = dict(defaults)

    def __get__(self, instance: object, owner: type | None = None) -> str:
        lines = [self._summary]
        for title, config in self._sections:
            lines += ["", *settings_section(title, config, self._defaults)]
        lines += ["", "Other:", "    seed (int): Random seed; equal seeds give equal models. Default: 0."]
        lines += ["", "Raises:", "    ValueError: an unknown setting, a wrong type or a value outside its range."]
        return "\n".join(lines)
