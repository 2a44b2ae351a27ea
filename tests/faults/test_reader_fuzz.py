"""Harmed files of every format are read with every row accounted for, or refused in a sentence; built ones exactly.

``benchmarks/fuzz_readers.py`` reads 20,000 of them.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.support import reader_fuzz, reader_fuzz_account
from tests.support.reader_fuzz_files import seed_files
from tests.support.reader_fuzz_rows import BuiltSource
from tests.support.reader_fuzz_tables import build_table
from tests.support.reader_fuzz_texts import build_text

FILES = 200


def test_harmed_and_built_files(tmp_path: Path) -> None:
    result = reader_fuzz.run(tmp_path, 0, FILES, seed=1)
    assert result["failures"] == []
    counts: Counter[str] = Counter()
    for row in result["by_format"].values():
        counts.update(row)
    assert counts["files"] == FILES and min(counts["read"], counts["refused"], counts["rejected"]) > FILES / 10
    assert min(counts["tables"], counts["counted"]) > FILES / 4
    assert counts["rows_read"] == counts["kept"] + counts["filtered_out"] + counts["rejected"] + counts["removed"]


def test_unharmed_files_are_read(tmp_path: Path) -> None:
    for number, (suffix, format, content) in enumerate(seed_files(3)):
        path = tmp_path / f"f{number}{suffix}"
        path.write_bytes(content)
        counts: Counter[str] = Counter()
        options = {} if format == "auto" else {"format": format}
        assert reader_fuzz.read_file(path, options, counts) is None
        assert counts["read"] == 1 and counts["kept"] > 0, path
        assert counts["counted"] == (suffix not in (".parquet", ".arrow")), path


def test_a_traceback_and_a_lost_row_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,time\nu,a,1700000000\nu,b,1700000001\n")
    read = reader_fuzz.read_events

    def broken(error: BaseException | None, *arguments: object, **options: object):  # type: ignore[no-untyped-def]
        if error is not None:
            raise error
        log = read(*arguments, **options)
        return log.with_frame(log.frame.head(1))

    for error, problem in (
        (KeyError("x"), "KeyError: 'x'"),
        (BaseException("panic"), "BaseException: panic"),
        (ValueError("no sentence"), "no sentence: ValueError: no sentence"),
        (UnicodeError("a sentence."), "no sentence: UnicodeError: a sentence."),
        (None, "2 rows read, but {'kept': 1, 'filtered_out': 0, 'rejected': 0, 'removed': 0}"),
    ):
        monkeypatch.setattr(reader_fuzz, "read_events", lambda *a, e=error, **o: broken(e, *a, **o))
        assert reader_fuzz.read_file(path, {}, Counter()) == problem


def test_a_wrong_row_of_a_built_file_is_noticed(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", None], "timestamp": [1, 2], "row_no": [1, 2]})
    options = {"allow_loss": True, "time_unit": "s"}
    sound: list[tuple[str, str, int] | None] = [("u", "a", 1_000_000), None]
    for rows, items, problem in (
        (sound, ["a", None], None),
        ([("u", "b", 1_000_000), None], ["a", None], "row 0 is read as ('u', 'a', 1000000)"),
        ([("u", "a", 1_000_000), ("v", "b", 2)], ["a", None], "row 1 is rejected, though"),
        ([*sound, None], ["a", None, None], "3 rows, 2 read"),
        (sound, ["a", "b"], "the items table has ['b'] too few"),
    ):
        built = BuiltSource(frame, "polars", rows, items, [1, 2, 3][: len(rows)], options)
        found = reader_fuzz.read_built(built, tmp_path, Counter())
        assert found is None if problem is None else problem in str(found), found


def test_built_files_hold_events_and_rows_that_are_none(tmp_path: Path) -> None:
    for build in (build_table, build_text):
        forms, events, others = set(), 0, 0
        for number in range(60):
            built = build(np.random.default_rng(number), tmp_path)
            forms.add(built.form)
            events += sum(row is not None for row in built.rows)
            others += sum(row is None for row in built.rows)
        assert len(forms) >= 4 and min(events, others) > 100, forms


@pytest.mark.parametrize(
    ("content", "format", "rows"),
    [
        (b"a,b\n1,2\r3,4\r\n\n5\n", "csv", 3),
        (b'a;b\n"x\ny";2\n3;4', "csv", 2),
        (b'a,b\n"x,2\n3,4', "csv", None),
        (b"sep=|\na|b\n1|2\n", "csv", 1),
        ("a,b\n1,2\n".encode("utf-16"), "csv", 1),
        (b'\xef\xbb\xbf{"a":1}\n \n{"a"\n', "jsonl", 2),
        (b'[{"a":1},{"a":2}]', "json", 2),
        (b"u a b\nv\n\n", "sequences", 3),
        (b"a b\tc\nd\n", "prefixes", 4),
        (b"PAR1", "parquet", None),
    ],
)
def test_rows_are_counted_without_a_reader(tmp_path: Path, content: bytes, format: str, rows: int | None) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert reader_fuzz_account.count_rows(path, format, {}) == rows
