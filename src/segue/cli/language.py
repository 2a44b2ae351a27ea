"""Language of tables, reasons and sentences: English, or Chinese where ``chinese.py`` has a translation.

JSON and files are the same in every language.
"""

import functools
import inspect
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from segue.cli.chinese import SENTENCES, WORDS
from segue.data.read_report import WARNING

CHINESE_WARNING = "警告："
_PREFIX = re.compile(r"\n*(?:- )?")
_PLACEHOLDER = re.compile(r"\{\d+\}")


class Language(StrEnum):
    """Language of the output."""

    en = "en"
    zh = "zh"


Default = Annotated[
    Language,
    typer.Option("--language", envvar="SEGUE_LANGUAGE", help="Language of tables, reasons and notes: en or zh."),
]
"""Option before the command."""
Option = Annotated[
    Language | None,
    typer.Option("--language", help="Language of tables, reasons and notes; by default SEGUE_LANGUAGE, or en."),
]
"""Option of each command."""
_present = Language.en


def present_language() -> Language:
    """Return the language of the command that runs."""
    return _present


def use_language(language: Language) -> None:
    """Write later output in a language."""
    global _present  # noqa: PLW0603 - one command runs in a process
    _present = language


def with_language(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option --language."""
    signature = inspect.signature(command)
    option = inspect.Parameter("language", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Option)

    @functools.wraps(command)
    def run(language: Language | None = None, **values: Any) -> None:
        if language is not None:
            use_language(language)
        command(**values)

    parameters = [*signature.parameters.values(), option]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def translated(text: str) -> str:
    """Return a text in the language of the command; a text without a translation stays as it is.

    Args:
        text: word or sentence, also behind a line break, "- " or "WARNING: ".
    """
    if _present is Language.en:
        return text
    start = _PREFIX.match(text)
    prefix = start.group() if start is not None else ""
    rest = text[len(prefix) :]
    if rest.startswith(WARNING):
        return prefix + CHINESE_WARNING + _chinese(rest.removeprefix(WARNING))
    return prefix + _chinese(rest)


def _chinese(text: str) -> str:
    """Return the translation of a text, or the text."""
    if (word := WORDS.get(text)) is not None:
        return word
    for pattern, sentence in _patterns():
        if (found := pattern.fullmatch(text)) is not None:
            return sentence.format(*map(_Value, found.groups()))
    return text


class _Value(str):
    """Value in a sentence; the format "t" translates it."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return _chinese(str(self)) if spec == "t" else str(self)


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return the pattern of each English sentence, those with the most fixed characters first."""
    by_length = sorted(SENTENCES.items(), key=lambda pair: -len(_PLACEHOLDER.sub("", pair[0])))
    return [(re.compile(_pattern(english), re.DOTALL), chinese) for english, chinese in by_length]


def _pattern(english: str) -> str:
    """Return the regular expression of a sentence: each value is the shortest text that fits."""
    return "(.*?)".join(re.escape(part) for part in _PLACEHOLDER.split(english))
