"""Tokens of texts, in scripts with and without spaces."""

import pytest

from segue.data.features.tokenize import tokenize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Scholl's Quick-Heat", ["dr", "scholl", "s", "quick", "heat"]),
        ("ＡＢＣ abc", ["abc"]),  # full width
        ("明前龙井 tea", ["明", "前", "龙", "井", "明前", "前龙", "龙井", "tea"]),
        ("ティーtea", ["テ", "ィ", "ー", "ティ", "ィー", "tea"]),
        ("Straße", ["strasse"]),
        ("снег 2024", ["снег", "2024"]),
        ("_ - !", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert tokenize(text) == expected
