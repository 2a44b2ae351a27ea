"""The grammar of filters: precedence, faults, limits of length and depth."""

import re
from dataclasses import is_dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.config.expression_tokens import MAX_DEPTH, Span
from segue.config.expressions import Node, columns_of, parse


def plain(node: Any) -> Any:
    """The tree without positions."""
    if isinstance(node, tuple):
        return [plain(part) for part in node]
    if not is_dataclass(node) or isinstance(node, Span):
        return node
    return (type(node).__name__, *[plain(v) for v in vars(node).values() if not isinstance(v, Span)])


def tree(filter: str) -> Any:
    return plain(parse(filter))


def test_precedence() -> None:
    a, b, c = (("Flag", ("Column", name)) for name in "abc")
    assert tree("a or b and c") == ("Joined", False, [a, ("Joined", True, [b, c])])
    assert tree("(a or b) and c") == ("Joined", True, [("Joined", False, [a, b]), c])
    assert tree("not a and b") == ("Joined", True, [("Not", a), b])
    assert tree("a and b and c") == ("Joined", True, [a, b, c])


def test_each_test() -> None:
    price, three, five = ("Column", "price"), ("Value", 3.0), ("Value", 5.0)
    first = ("Compare", three, "<=", price)
    assert tree("3 <= price < 5") == ("Joined", True, [first, ("Compare", price, "<", five)])
    assert tree("price in [3, 5]") == ("In", price, ("Values", [three, five]))
    assert tree("price not in [3]") == ("Not", ("In", price, ("Values", [three])))
    assert tree("'x' in tags") == ("In", ("Value", "x"), ("Column", "tags"))
    assert tree("title not contains 'x'") == ("Not", ("TextTest", ("Column", "title"), "contains", ("Value", "x")))
    assert tree("price is missing") == ("Missing", price)
    assert tree("price is not missing") == ("Not", ("Missing", price))
    assert tree("sold == true") == ("Compare", ("Column", "sold"), "==", ("Value", True))
    assert tree("`in` == 3") == ("Compare", ("Column", "in"), "==", three)
    assert tree("sold == True") == tree("sold == true")
    assert tree("price = 3 and 3=price or not (a='x')") == tree("price == 3 and 3==price or not (a=='x')"), "as in SQL"
    assert tree("price is None") == tree("price is missing")
    assert tree("price is not None and price in (3, 5)") == tree("price is not missing and price in [3, 5]")
    assert tree("code not starts_with 'C'") == ("Not", ("TextTest", ("Column", "code"), "starts_with", ("Value", "C")))
    assert tree("\n ((price)) is missing\t") == ("Missing", price)
    assert tree("not not (a)") == ("Not", ("Not", ("Flag", ("Column", "a"))))


def test_a_column_keeps_its_own_characters() -> None:
    """Python would read the ligature as two letters, and knows more words than ours."""
    for name in ("\ufb01le", "lambda", "ｐｒｉｃｅ", "None_", "x", "xx", "if"):
        assert tree(f"{name} > 3") == ("Compare", ("Column", name), ">", ("Value", 3.0))
        assert tree(f"`{name}` > 3") == tree(f"{name} > 3")


def test_a_text_names_a_column_where_only_a_column_may_stand() -> None:
    """As in SQL, where column names of several words stand in quotation marks."""
    for quoted, plain in (
        ('"Unit Price" > 5', "`Unit Price` > 5"),
        ("5 < 'Unit Price'", "5 < `Unit Price`"),
        ("'Unit Price' == 'x'", "`Unit Price` == 'x'"),
        ("'Unit Price' is missing", "`Unit Price` is missing"),
        ("'Unit Price' contains 'x'", "`Unit Price` contains 'x'"),
        ("'Unit Price' in [1, 2]", "`Unit Price` in [1, 2]"),
    ):
        assert tree(quoted) == tree(plain)


@pytest.mark.parametrize(
    ("filter", "sentence", "at"),
    [
        ("a b", "'b' does not belong here; 'and', 'or' or the filter's end does.", (2, 3)),
        ('a "b"', "\"b\" does not belong here; 'and', 'or' or the filter's end does.", (2, 5)),
        ("(a or b", "This bracket is never closed.", (0, 1)),
        ("a)", "')' does not belong here; 'and', 'or' or the filter's end does.", (1, 2)),
        ("a and", "The filter ends where a column or a value must stand.", (5, 6)),
        ("a and or b", "'or' stands where a column or a value must stand.", (6, 8)),
        ("a not b", "'b' does not belong here; 'not' before it needs 'in' or 'contains'.", (6, 7)),
        ("a not", "The filter's end does not belong here; 'not' before it needs 'in' or 'contains'.", (5, 6)),
        ("a is 3", "'3' does not belong here; after 'is' comes 'missing' or 'not missing'.", (5, 6)),
        ("1 < 2", "Two values are compared; one side must be a column.", (0, 5)),
        ("3", "A column must stand here, not a value.", (0, 1)),
        ("3 is missing", "A column must stand here, not a value.", (0, 1)),
        ("a in [1, b]", 'A value must stand here, not a column; text is written in quotes: "b".', (9, 10)),
        ("a in []", "']' stands where a column or a value must stand.", (6, 7)),
        ("a in [1", "This bracket is never closed: a list is written [1, 2, 3].", (5, 6)),
        ("a in 'tea'", "After 'in' comes a list in brackets, or a column that holds lists.", (5, 10)),
        ("a < 1e999", "1e999 is too large a number.", (4, 9)),
        ("a == not b", "'not' stands where a column or a value must stand.", (5, 8)),
        ("a == (not b)", "A column or a value must stand here.", (6, 11)),
        ("(a and b) > 3", "A column or a value must stand here.", (1, 8)),
        ("a is missing == b", "'==' does not belong here; 'and', 'or' or the filter's end does.", (13, 15)),
        ("a in [1] in b", "'in' does not belong here; 'and', 'or' or the filter's end does.", (9, 11)),
        (
            "a == None",
            "'None' stands where a column or a value must stand; write 'is missing' or 'is not missing'.",
            (5, 9),
        ),
        ("lower(a) == 'x'", "'(' does not belong here: a filter calls no functions.", (5, 6)),
        ("a[1] == 2", "'[' does not belong here; 'and', 'or' or the filter's end does.", (1, 2)),
        ("a in (1, 2]", "This bracket is never closed: a list is written [1, 2, 3].", (5, 6)),
        ("a AND b", "'AND' is a word of SQL; write 'and'.", (2, 5)),
        ("NOT a", "'NOT' is a word of SQL; write 'not'.", (0, 3)),
        ("a IS NULL", "'IS' is a word of SQL; write price is missing.", (2, 4)),
        ("a is not null", "'null' is a word of SQL; write price is missing.", (9, 13)),
        (
            "title LIKE 'tea%'",
            '\'LIKE\' is a word of SQL; write title contains "tea", or title starts_with "tea".',
            (6, 10),
        ),
        ("a between 1 and 2", "'between' is a word of SQL; write 10 <= price <= 20.", (2, 9)),
        ("a IN ('x')", '\'IN\' is a word of SQL; write in ["a", "b"].', (2, 4)),
        ("", "The filter ends where a column or a value must stand.", (0, 1)),
    ],
)
def test_a_fault_is_pointed_at(filter: str, sentence: str, at: tuple[int, int]) -> None:
    message = f"{sentence}\n  {filter}\n  {' ' * at[0]}{'^' * (at[1] - at[0])}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse(filter)


def test_depth_is_limited_and_length_is_not_depth() -> None:
    def depth(node: Node) -> int:
        return 0 if not isinstance(node, type(parse("not a"))) else 1 + depth(node.part)

    assert depth(parse("not " * MAX_DEPTH + "a")) == MAX_DEPTH
    for filter in ("not " * (MAX_DEPTH + 1) + "a", "(" * 3000 + "a" + ")" * 3000):
        with pytest.raises(ValueError, match=r"^Brackets and nots may lie 50 deep; this one lies deeper\.\n"):
            parse(filter)
    assert len(tree("a or " * 1500 + "a")[2]) == 1501


WORDS = ["a", "`b c`", "价格", "3", "-1.5", "'x'", '"y"', "true", "None", "missing", "and", "or", "not", "in", "is"]
WORDS += ["contains", "starts_with", "(", ")", "[", "]", ",", "==", "!=", "<", "<=", "(", "not", "a", "'x'"]


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=60))
@settings(deadline=None, max_examples=600)
def test_any_text_is_a_tree_or_a_sentence_with_a_caret(text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        sentence, shown, carets = str(error).split("\n")
        assert sentence.endswith(".") and "This is not a filter" not in sentence
        assert shown.startswith("  ") and carets.strip(" ") == "^" * len(carets.strip(" ")) != ""


@pytest.mark.parametrize(
    "text",
    [
        "(" * 9999,
        "-" * 9999 + "3",
        "not " * 2499 + "a",
        "a" + "[0]" * 3000,
        "a" + "()" * 4000,
        "a.b" * 3000,
        "[" * 9999,
        "a in [" * 1600,
        "a == " * 1900,
        "a + " * 2400 + "a",
        "1" * 9999,
        "a\0b",
        "\ud800",
        "lambda: 0",
        "a if b else c",
        "(a for a in b)",
        "f'{a}'",
        "__import__('os')",
        "a := 3",
        "x" * 10_001,
    ],
)
def test_a_hostile_text_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert len(str(caught.value).encode()) < 500


def test_long_flat_texts_are_trees() -> None:
    assert len(tree("a == " * 1900 + "a")[2]) == 1900
    assert tree("a < " + "1" * 300) == ("Compare", ("Column", "a"), "<", ("Value", float("1" * 300)))


def test_the_columns_of_an_expression() -> None:
    text = "price < 3 and `Unit Price` > price and 'text' in tags and sold == true and not brand is missing"
    assert columns_of(text) == ["price", "Unit Price", "tags", "sold", "brand"]
    with pytest.raises(ValueError, match="The filter ends"):
        columns_of("price <")
