"""Tokens of a filter, and the position of the caret under a fault."""

import re

import pytest

from segue.config.expression_tokens import MAX_LENGTH, Span, fault, scan


def test_words_have_types_values_and_places() -> None:
    filter = 'not (价格>=-3.5e1 and `unit price` == "a \\"b\\" \\\\")'
    found = [(token.type, token.value, filter[token.at.start : token.at.stop]) for token in scan(filter)]
    assert found == [
        ("keyword", "not", "not"),
        ("mark", "(", "("),
        ("name", "价格", "价格"),
        ("mark", ">=", ">="),
        ("number", "-3.5e1", "-3.5e1"),
        ("keyword", "and", "and"),
        ("name", "unit price", "`unit price`"),
        ("mark", "==", "=="),
        ("text", 'a "b" \\', '"a \\"b\\" \\\\"'),
        ("mark", ")", ")"),
        ("end", "", ""),
    ]


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("a && b", "'&&' is not a word of a filter; write 'and'.\n  a && b\n    ^^"),
        ("!a", "'!' is not a word of a filter; write 'not'.\n  !a\n  ^"),
        ("a <> 3", "'<>' is not a word of a filter; write '!='.\n  a <> 3\n    ^^"),
        ("类别 == “茶”", "'“' is not a word of a filter; write \".\n  类别 == “茶”\n          ^"),
        ("a, b; c", "';' is not a word of a filter.\n  a, b; c\n      ^"),
        ("p < 20€", "'20€' is not a number; a number has no unit: write 20.\n  p < 20€\n      ^^^"),
        (
            "d > 2026-07-01",
            "'2026-07-01' is not a number; text, such as a date, is written in quotes.\n"
            "  d > 2026-07-01\n      ^^^^^^^^^^",
        ),
        ("c == 'tea", "This ' is never closed.\n  c == 'tea\n       ^^^^"),
        ('c == "a\\n"', 'A backslash stands only before " or another backslash.\n  c == "a\\n"\n         ^^'),
    ],
)
def test_an_unknown_token_is_pointed_at(filter: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        scan(filter)


def test_the_caret_stands_right_under_wide_marks_and_in_long_filters() -> None:
    with pytest.raises(ValueError) as wide:
        fault("茶 茶茶", Span(2, 4), "So.")
    assert str(wide.value) == "So.\n  茶 茶茶\n  " + " " * 3 + "^" * 4
    with pytest.raises(ValueError) as marked:
        fault("e\u0301\tx", Span(3, 4), "So.")  # a combining accent takes no column, a tab one
    assert str(marked.value) == "So.\n  e\u0301 x\n    ^"
    long = "a" * 150 + "X" + "b" * 150
    with pytest.raises(ValueError) as found:
        fault(long, Span(150, 151), "So.")
    _, shown, carets = str(found.value).split("\n")
    assert shown == "  ..." + "a" * 50 + "X" + "b" * 49 + "..."
    assert shown[carets.index("^")] == "X"


def test_a_filter_has_a_length() -> None:
    assert len(scan("a" * MAX_LENGTH)) == 2
    message = (
        "A filter may have 10,000 characters, this one has 10,001: add a column that marks those rows, and filter "
        "by it."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        scan("a" * (MAX_LENGTH + 1))
