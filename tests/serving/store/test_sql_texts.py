"""SQL texts: only names that the source itself writes are put into them, every value goes in as a parameter."""

import ast
import re
from pathlib import Path

SERVING = Path(__file__).parents[3] / "src" / "segue" / "serving"
SQL = re.compile(r"\b(SELECT|INSERT|DELETE|UPDATE|PRAGMA|CREATE|DROP|ALTER|REINDEX|VACUUM)\b")
WRITTEN_BY_THE_SOURCE = {
    "table",
    "columns",
    "id_type",
    "having",
    "keys",
    "key",
    "name",
    "delete",
    "old_lists",
    "order",
    "version",
    "where",
}
"""Local names for a table, a column, or a part of a statement; constants in capitals may be used as well."""


def sql_texts(path: Path) -> list[ast.JoinedStr]:
    """Return the f-strings of a file that are SQL."""
    found = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.JoinedStr)]
    return [
        node for node in found if SQL.search("".join(str(p.value) for p in node.values if isinstance(p, ast.Constant)))
    ]


def is_written_by_the_source(part: ast.FormattedValue) -> bool:
    value = part.value
    if isinstance(value, ast.BinOp):  # a number that grows: version + 1
        value = value.left
    if isinstance(value, ast.IfExp):  # 'FULL' if force else 'NORMAL'
        return isinstance(value.body, ast.Constant) and isinstance(value.orelse, ast.Constant)
    return isinstance(value, ast.Name) and (value.id.strip("_").isupper() or value.id in WRITTEN_BY_THE_SOURCE)


def test_no_value_is_written_into_a_statement() -> None:
    texts = [(path, node) for path in SERVING.rglob("*.py") for node in sql_texts(path)]
    assert len(texts) > 5
    wrong = [
        f"{path.relative_to(SERVING)}:{part.lineno}: {ast.unparse(part.value)}"
        for path, node in texts
        for part in node.values
        if isinstance(part, ast.FormattedValue) and not is_written_by_the_source(part)
    ]
    assert wrong == []
