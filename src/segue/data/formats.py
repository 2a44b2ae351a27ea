"""Files -> raw columns, each row with the place it came from; rows that are no rows are set aside at once.

Text columns stay text here: an id keeps its very characters, ``01`` and ``1.0`` included.
"""

import csv
import gzip
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

ROW = "__row__"
"""The column that holds where a row came from: the line of a text file, else the row number; both from 1."""
BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".inter": "recbole",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
PAPER_FORMATS = ("sequences", "sessions", "pairs", "prefixes")
FORMATS = ("csv", "tsv", "jsonl", "parquet", "arrow", "recbole", *PAPER_FORMATS)


@dataclass
class Raw:
    """``frame`` with a ROW column; ``rejected``: (row, reason, text) of what is no row at all."""

    frame: "pl.DataFrame"
    rejected: list[tuple[int, str, str]] = field(default_factory=list)
    ordered: bool = False
    """The format has an order but no times."""
    labelled: bool = False
    """The last event of each row is the label of a fixed test set."""


def guess_format(path: Path) -> str:
    """By the ending; ValueError, with the choices, where it says nothing (as ``.txt``)."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in BY_SUFFIX:
        return BY_SUFFIX[suffixes[-1]]
    raise ValueError(f"The ending of {path.name} does not say its format; name one of: {', '.join(FORMATS)}.")


def read_raw(path: Path, format: str) -> Raw:
    """Reads a file. ValueError in one sentence where it is missing, empty or not of that format at all."""
    import polars as pl

    if format not in FORMATS:
        raise ValueError(f"There is no format '{format}'. Known formats: {', '.join(FORMATS)}.")
    if not path.exists():
        raise ValueError(f"There is no file {path}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a log.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty.")
    try:
        if format in ("csv", "tsv", "recbole"):
            return _delimited(path, "," if format == "csv" else "\t", recbole=format == "recbole")
        if format == "jsonl":
            return _json_lines(path)
        if format in PAPER_FORMATS:
            return _papers(path, format)
        frame = pl.read_parquet(path) if format == "parquet" else pl.read_ipc(path)
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeError) as error:
        raise ValueError(f"{path} cannot be read as {format}: {str(error).splitlines()[0]}.") from None
    return Raw(frame.with_row_index(ROW, offset=1))


def _delimited(path: Path, separator: str, *, recbole: bool) -> Raw:
    """The fast reader, and, where a row has too many fields or broken characters, the careful one."""
    import polars as pl

    try:
        frame = pl.read_csv(
            path, separator=separator, infer_schema=False, quote_char=None if recbole else '"', row_index_name=ROW
        )
        raw = Raw(frame.with_columns(pl.col(ROW) + 2))
    except pl.exceptions.PolarsError:
        raw = _carefully(path, separator, quoted=not recbole)
    if raw.frame.width < 3:
        raise ValueError(f"{path} has one column only; is it separated by {separator!r}?")
    if recbole:
        raw.frame = raw.frame.rename({c: c.split(":")[0] for c in raw.frame.columns if ":" in c})
    return raw


def _carefully(path: Path, separator: str, *, quoted: bool) -> Raw:
    """Row by row: what does not fit is set aside with its line and text, and the rest is kept."""
    import polars as pl

    text = _open_text(path)
    reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    rejected: list[tuple[int, str, str]] = []
    kept: list[list[str]] = []
    lines: list[int] = []
    header: list[str] = []
    try:
        header = next(reader, [])
        if any(_broken(name) for name in header) or len(set(header)) != len(header):
            raise ValueError(f"{path} is not a table of text: its first line is no list of different column names.")
        for fields in reader:
            if len(fields) != len(header):
                reason = f"{len(fields)} fields instead of {len(header)}"
                rejected.append((reader.line_num, reason, _printable(separator.join(fields))))
            elif any(_broken(value) for value in fields):
                rejected.append((reader.line_num, "not UTF-8", _printable(separator.join(fields))))
            else:
                kept.append(fields)
                lines.append(reader.line_num)
    except csv.Error as error:
        rejected.append((reader.line_num, f"broken row: {error}", ""))
    columns = {name: [row[i] or None for row in kept] for i, name in enumerate(header)}
    frame = pl.DataFrame({ROW: lines, **columns}, schema={ROW: pl.UInt32, **dict.fromkeys(header, pl.String)})
    return Raw(frame, rejected)


def _json_lines(path: Path) -> Raw:
    """One object a line. A column whose ids are partly numbers and partly texts keeps its commoner kind: 1 and "1"
    would look alike afterwards, so the other kind is set aside."""
    import polars as pl

    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    rejected: list[tuple[int, str, str]] = []
    for number, line in enumerate(_open_text(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            value = None
        if (
            not isinstance(value, dict)
            or _broken(line)
            or any(_broken(v) for v in value.values() if isinstance(v, str))
        ):
            rejected.append((number, "not a JSON object", _printable(line)))
        else:
            rows.append(value)
            lines.append(number)
    if not rows:
        raise ValueError(f"{path} holds no JSON object, one on each line.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    odd = _odd_kinds(rows, names)
    rejected += [(lines[i], reason, _printable(json.dumps(rows[i]))) for i, reason in odd.items()]
    keep = [i for i in range(len(rows)) if i not in odd]
    columns = {name: [_flat(rows[i].get(name)) for i in keep] for name in names}
    return Raw(pl.DataFrame({ROW: [lines[i] for i in keep], **columns}, strict=False), rejected)


def _odd_kinds(rows: list[dict[str, Any]], names: list[str]) -> dict[int, str]:
    """Rows whose value in some column is of another kind than most, with the reason."""
    odd: dict[int, str] = {}
    for name in names:
        kinds = [_kind(row.get(name)) for row in rows]
        counts = {kind: kinds.count(kind) for kind in set(kinds) - {"null"}}
        main = max(counts, key=lambda kind: (counts[kind], kind), default="null")
        if len(counts) > 1:
            for i, kind in enumerate(kinds):
                if kind not in (main, "null"):
                    odd.setdefault(i, f"'{name}' is a {kind} where most rows have a {main}")
    return odd


def _flat(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _papers(path: Path, format: str) -> Raw:
    """The text files of the papers: an order, no times."""
    import polars as pl

    text = _open_text(path).read()
    if _broken(text) or "\x00" in text:
        raise ValueError(f"{path} is not text, so it cannot be read as {format}.")
    line = pl.DataFrame({"line": text.splitlines()}).with_row_index(ROW, offset=1)
    line = line.with_columns(pl.col("line").str.strip_chars()).filter(pl.col("line") != "")
    line = line.with_columns(pl.col("line").str.replace_all(r"\s+", " ").str.split(" ").alias("parts"))
    rejected: list[tuple[int, str, str]] = []
    if format in ("sequences", "pairs"):
        least = 2
        wrong = (pl.col("parts").list.len() < least) if format == "sequences" else (pl.col("parts").list.len() != least)
        reason = "a person without items" if format == "sequences" else "not two fields"
        rejected = [(r, reason, _printable(t)) for r, t in line.filter(wrong).select(ROW, "line").iter_rows()]
        line = line.filter(~wrong).with_columns(
            pl.col("parts").list.first().alias("user_id"), pl.col("parts").list.slice(1).alias("item_id")
        )
        frame = line.select(ROW, "user_id", "item_id").explode("item_id")
    else:
        key = pl.col(ROW).cast(pl.String)
        frame = line.select(ROW, key.alias("user_id"), key.alias("session_id"), pl.col("parts").alias("item_id"))
        frame = frame.explode("item_id")
    return Raw(frame, rejected, ordered=True, labelled=format == "prefixes")


def _open_text(path: Path) -> io.TextIOBase:
    """UTF-8 text, gunzipped where the name says so; a byte that is no UTF-8 comes through as a lone surrogate."""
    if path.suffix.lower() == ".gz":
        return io.TextIOWrapper(gzip.open(path), "utf-8-sig", errors="surrogateescape", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _broken(text: str) -> bool:
    """Whether text holds a lone surrogate: bytes that were no UTF-8, or an escape that is no character."""
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true/false"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else "nested value"


def _printable(text: str) -> str:
    return text.rstrip("\r\n").encode("utf-8", "backslashreplace").decode()[:500]
