"""Random filter expressions with their meaning: the naive evaluator that both real ones are compared with."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

COLUMNS = {"price": "number", "was": "number", "unit price": "number", "kind": "text", "类别": "text", "sold": "truth"}
"""Columns that the expressions name, with their types; ``tags`` holds lists."""
NUMBERS = [-1.5, 0.0, 1.0, 2.0, 10.0]
TEXTS = ["", "tea", "Tea", "TEApot", "茶", "ß", "SS", "a'b"]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            **{name: st.none() | st.sampled_from(NUMBERS) for name in ("price", "was", "unit price")},
            **{name: st.none() | st.sampled_from(TEXTS) for name in ("kind", "类别")},
            "sold": st.none() | st.booleans(),
            "tags": st.none() | st.lists(st.sampled_from(TEXTS), max_size=3),
        }
    ),
    min_size=1,
    max_size=8,
)
"""Rows of a table, None where a value is missing."""
Row = Mapping[str, Any]


class Expression(NamedTuple):
    """A filter expression and its meaning for one row."""

    text: str
    holds: Callable[[Row], bool]


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
}


def spell(value: Any) -> str:
    """Return a value as an expression writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def spell_column(name: str) -> str:
    return f"`{name}`" if " " in name else name


def _comparison(draw: st.DrawFn) -> Expression:
    name = draw(st.sampled_from(sorted(COLUMNS)))
    type_ = COLUMNS[name]
    sign = draw(st.sampled_from(["==", "!="] if type_ == "truth" else ["==", "!=", "<", "<=", ">", ">="]))
    values: list[Any] = {"number": NUMBERS, "text": TEXTS, "truth": [True, False]}[type_]
    others = [other for other in COLUMNS if COLUMNS[other] == type_]
    other = draw(st.sampled_from([("column", o) for o in others] + [("value", v) for v in values]))
    compare = OPERATORS["==" if sign == "!=" else sign]

    def holds(row: Row) -> bool:
        right = row[other[1]] if other[0] == "column" else other[1]
        known = row[name] is not None and right is not None
        return (known and compare(row[name], right)) != (sign == "!=")

    right = spell_column(other[1]) if other[0] == "column" else spell(other[1])
    if other[0] == "value" and draw(st.booleans()):
        mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
        return Expression(f"{right} {mirrored} {spell_column(name)}", holds)
    return Expression(f"{spell_column(name)} {sign} {right}", holds)


def _between(draw: st.DrawFn) -> Expression:
    low, high = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(NUMBERS))
    return Expression(f"{low} <= price < {high}", lambda row: row["price"] is not None and low <= row["price"] < high)


def _membership(draw: st.DrawFn) -> Expression:
    word = draw(st.sampled_from(["in", "not in"]))
    if draw(st.booleans()):
        text = draw(st.sampled_from(TEXTS))
        return Expression(f"{spell(text)} {word} tags", lambda row: (text in (row["tags"] or [])) != (word == "not in"))
    name = draw(st.sampled_from(["price", "kind", "sold"]))
    values: list[Any] = {"price": NUMBERS, "kind": TEXTS, "sold": [True, False]}[name]
    chosen = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    listed = ", ".join(spell(value) for value in chosen)
    return Expression(
        f"{name} {word} [{listed}]",
        lambda row: (row[name] is not None and row[name] in chosen) != (word == "not in"),
    )


def _text_test(draw: st.DrawFn) -> Expression:
    word, negated = draw(st.sampled_from(["contains", "starts_with"])), draw(st.booleans())
    part = draw(st.sampled_from(TEXTS))

    def holds(row: Row) -> bool:
        if row["kind"] is None:
            return negated
        low, text = part.casefold(), row["kind"].casefold()
        return (low in text if word == "contains" else text.startswith(low)) != negated

    return Expression(f"kind {'not ' * negated}{word} {spell(part)}", holds)


def _missing(draw: st.DrawFn) -> Expression:
    name, negated = draw(st.sampled_from([*COLUMNS, "tags"])), draw(st.booleans())
    return Expression(f"{spell_column(name)} is {'not ' * negated}missing", lambda row: (row[name] is None) != negated)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> Expression:
    """Expressions of up to ``depth`` levels of and, or, not and brackets."""
    if depth == 0 or draw(st.booleans()):
        make = draw(st.sampled_from([_comparison, _between, _membership, _text_test, _missing, None]))
        return make(draw) if make is not None else Expression("sold", lambda row: row["sold"] is True)
    joined = draw(st.sampled_from(["and", "or", "not"]))
    first = draw(expressions(depth - 1))
    if joined == "not":
        return Expression(f"not ({first.text})", lambda row: not first.holds(row))
    second = draw(expressions(depth - 1))
    both = all if joined == "and" else any
    return Expression(
        f"({first.text}) {joined} ({second.text})", lambda row: both([first.holds(row), second.holds(row)])
    )
