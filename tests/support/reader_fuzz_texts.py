"""Built texts of the readers' fuzz: CSV, TSV and JSON files with broken lines, whose rows are known beforehand."""

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.reader_fuzz_rows import IDS, ZONES, BuiltSource, choose, in_range, time_texts, valid_id


def build_text(rng: np.random.Generator, folder: Path) -> BuiltSource:
    """Build a CSV, TSV or JSON file with broken lines among its rows.

    Args:
        rng: random generator.
        folder: folder for the file.
    """
    size = int(rng.integers(1, 40))
    options: dict[str, Any] = {"allow_loss": True}
    if rng.random() < 0.3:
        options["time_zone"] = str(rng.choice(ZONES))
    pool = IDS[: int(rng.integers(4, len(IDS)))]
    users, items = choose(rng, pool, size), choose(rng, pool, size)
    texts, times = time_texts(rng, size, options.get("time_zone", "UTC"))
    if rng.random() < 0.5:
        options["time_unit"] = "s"
        times = [int(n) * 10**6 for n in rng.integers(0, 2**31, size)]
        texts = [str(time // 10**6) for time in times]  # type: ignore[operator]
    valid_items = [valid_id(item) for item in items]
    rows = [
        None if valid_id(user) is None or item is None or in_range(time) is None else (user, item, time)
        for user, item, time in zip(users, valid_items, times, strict=True)
    ]
    table = [list(cells) for cells in zip(users, items, texts, map(str, range(1, size + 1)), strict=True)]
    if rng.random() < 0.35:
        return _as_json(rng, folder, table, rows, options)
    return _as_delimited(rng, folder, table, rows, options)


def _as_delimited(
    rng: np.random.Generator, folder: Path, table: list[list[str]], rows: list[Any], options: dict[str, Any]
) -> BuiltSource:
    separator = str(rng.choice(list(",;\t|")))
    end = str(rng.choice(["\n", "\r\n", "\r"]))
    usual = csv.QUOTE_ALL if rng.random() < 0.3 else csv.QUOTE_MINIMAL
    text = end * int(rng.integers(1, 3)) if rng.random() < 0.05 else ""
    text += f"sep={separator}{end}" if rng.random() < 0.1 else ""
    is_tab = separator == "\t" and "sep" not in text and rng.random() < 0.5
    header = ["user_id", "item_id", "timestamp", "row_no"]
    if rng.random() < 0.15 and not re.search(r"[,;\t|\r\n\ufeff\x00]", "".join(table[0])):  # which give the separator
        options |= {"header": "none", "columns": {name: f"column_{i}" for i, name in enumerate(header[:3], 1)}}
    else:
        text += separator.join(header) + end
    numbers, kept, items = [], [], []
    for cells, row in zip(table, rows, strict=True):
        is_broken = bool(numbers) and rng.random() < 0.08 and not re.search(r"[\r\n]", "".join(cells))
        written = (cells[:2] if rng.random() < 0.5 else [*cells, "more"]) if is_broken else cells
        if rng.random() < 0.05:
            text += end
        numbers.append(1 + len(re.findall(r"\r\n|\n|\r", text)))
        buffer = io.StringIO(newline="")
        quoting = csv.QUOTE_ALL if re.search(r"[\r\n]", "".join(written)) else usual
        csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=end).writerow(written)
        text += buffer.getvalue()
        kept.append(None if is_broken else row)
        items.append(None if is_broken else valid_id(cells[1]))
    text = text if rng.random() < 0.8 else text.removesuffix(end)
    content = _encode(rng, text, options)
    if rng.random() < 0.1 and content.isascii():
        bad = b"\xff" + separator.encode() * 3 + end.encode()
        numbers.append(1 + len(re.findall(r"\r\n|\n|\r", text)))
        if not text.endswith(end):
            content, numbers[-1] = content + end.encode(), numbers[-1] + 1
        content += bad
        kept.append(None)
        items.append(None)
    suffix = ".tsv" if is_tab else ".csv"
    path = folder / f"t{rng.integers(1 << 60)}{suffix}"
    if rng.random() < 0.15:
        path, content = path.with_suffix(f"{suffix}.gz"), gzip.compress(content)
    path.write_bytes(content)
    return BuiltSource(path, f"built {suffix}", kept, items, numbers, options)


def _encode(rng: np.random.Generator, text: str, options: dict[str, Any]) -> bytes:
    name = str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030", "big5", "latin-1", "cp1252"]))
    try:
        content = text.encode(name)
    except UnicodeEncodeError:
        return text.encode()
    if name in ("gb18030", "big5", "latin-1", "cp1252") or (name == "utf-8" and not text.isascii()):
        options["encoding"] = name  # detection does not promise these for a few characters
    return content


_BROKEN_LINES = (
    "{",
    "[]",
    "1",
    '"x"',
    '{"user_id": "a"}}',
    '{"user_id": "a", "item_id": "\\ud800"}',
    "null",
    "\ufeff{}",
)


def _as_json(
    rng: np.random.Generator, folder: Path, table: list[list[str]], rows: list[Any], options: dict[str, Any]
) -> BuiltSource:
    is_list = bool(rng.random() < 0.3)
    others: list[Any] = [7, True, ["a"], {"a": 1}, 2**70, None, 1.5]
    lines, kept, items, numbered = [], [], [], []
    for i, (cells, row) in enumerate(zip(table, rows, strict=True)):
        values: dict[str, Any] = dict(zip(("user_id", "item_id", "timestamp"), cells, strict=False))
        item, is_event = valid_id(cells[1]), True
        if i > 3 and i % 4 == 0:  # texts stay the usual type
            role = str(rng.choice(["user_id", "item_id"]))
            values[role], is_event = others[int(rng.integers(0, len(others)))], False
            item = None if role == "item_id" else item
        values["row_no"] = int(cells[3])
        if not is_list and rng.random() < 0.05:
            lines.append(str(rng.choice(_BROKEN_LINES)))
            kept.append(None)
            items.append(None)
        numbered.append(len(lines))
        lines.append(json.dumps(values, ensure_ascii=bool(rng.random() < 0.5)))
        kept.append(row if is_event else None)
        items.append(item)
    text = "[" + ",".join(lines) + "]" if is_list else "\n".join(lines)
    path = folder / f"t{rng.integers(1 << 60)}{'.json' if is_list else '.jsonl'}"
    path.write_bytes(text.encode("utf-8-sig" if rng.random() < 0.1 else "utf-8"))
    numbers = list(range(1, len(lines) + 1))
    return BuiltSource(path, f"built {path.suffix}", kept, items, numbers, options, numbered=numbered)
