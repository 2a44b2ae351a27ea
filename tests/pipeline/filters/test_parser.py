"""The grammar: what binds closer, what is refused, how deep it may go."""

import re
from dataclasses import is_dataclass
from typing import Any

import pytest

from segue.pipeline.filters.parser import MAX_DEPTH, Node, parse
from segue.pipeline.filters.tokenizer import Span


def plain(node: Any) -> Any:
    """The tree without its places."""
    if isinstance(node, tuple):
        return [plain(part) for part in node]
    if not is_dataclass(node) or isinstance(node, Span):
        return node
    return (type(node).__name__, *[plain(v) for v in vars(node).values() if not isinstance(v, Span)])


def tree(filter: str) -> Any:
    return plain(parse(filter))


def test_what_binds_closer() -> None:
    a, b, c = (("Flag", ("Column", name)) for name in "abc")
    assert tree("a or b and c") == ("Joined", False, [a, ("Joined", True, [b, c])])
    assert tree("(a or b) and c") == ("Joined", True, [("Joined", False, [a, b]), c])
    assert tree("not a and b") == ("Joined", True, [("Not", a), b])
    assert tree("a and b and c") == ("Joined", True, [a, b, c])


def test_each_test() -> None:
    price, three, five = ("Column", "price"), ("Value", 3.0), ("Value", 5.0)
    first = ("Compare", three, "<=", price)
    assert tree("3 <= price < 5") == ("Joined", True, [first, ("Compare", price, "<", five)])
    assert tree("price in [3, 5]") == ("Among", price, ("Values", [three, five]))
    assert tree("price not in [3]") == ("Not", ("Among", price, ("Values", [three])))
    assert tree("'x' in tags") == ("Among", ("Value", "x"), ("Column", "tags"))
    assert tree("title not contains 'x'") == ("Not", ("Contains", ("Column", "title"), ("Value", "x")))
    assert tree("price is missing") == ("Missing", price)
    assert tree("price is not missing") == ("Not", ("Missing", price))
    assert tree("sold == true") == ("Compare", ("Column", "sold"), "==", ("Value", True))
    assert tree("`in` == 3") == ("Compare", ("Column", "in"), "==", three)


@pytest.mark.parametrize(
    ("filter", "sentence", "at"),
    [
        ("a b", "'b' does not belong here; 'and', 'or' or the filter's end does.", (2, 3)),
        ('a "b"', "\"b\" does not belong here; 'and', 'or' or the filter's end does.", (2, 5)),
        ("(a or b", "This bracket is never closed.", (0, 1)),
        ("a)", "')' does not belong here; 'and', 'or' or the filter's end does.", (1, 2)),
        ("a and", "The filter ends where a column or a value must stand.", (5, 6)),
        ("a and or b", "'or' stands where a column or a value must stand.", (6, 8)),
        ("a not b", "'b' does not belong here; 'not' before it asks for 'in' or 'contains'.", (6, 7)),
        ("a not", "The filter's end does not belong here; 'not' before it asks for 'in' or 'contains'.", (5, 6)),
        ("a is 3", "'3' does not belong here; after 'is' comes 'missing' or 'not missing'.", (5, 6)),
        ("1 < 2", "Two values are compared; one side must be a column.", (0, 5)),
        ("3", "A column must stand here, not a value.", (0, 1)),
        ("3 is missing", "A column must stand here, not a value.", (0, 1)),
        ("a in [1, b]", 'A value must stand here, not a column; text is written in quotes: "b".', (9, 10)),
        ("a in []", "']' stands where a column or a value must stand.", (6, 7)),
        ("a in [1", "This bracket is never closed: a list is written [1, 2, 3].", (5, 6)),
        ("a in 'tea'", "After 'in' comes a list in brackets, or a column that holds lists.", (5, 10)),
        ("a < 1e999", "1e999 is too large a number.", (4, 9)),
    ],
)
def test_what_is_no_filter_is_pointed_at(filter: str, sentence: str, at: tuple[int, int]) -> None:
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
