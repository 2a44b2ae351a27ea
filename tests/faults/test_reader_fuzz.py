"""Harmed files of every format are read with every row accounted for, or refused in a sentence.

``benchmarks/fuzz_readers.py`` reads 20,000 of them.
"""

from collections import Counter
from pathlib import Path

import pytest
from tests.support import reader_fuzz

FILES = 250


def test_harmed_files(tmp_path: Path) -> None:
    result = reader_fuzz.run(tmp_path, 0, FILES, seed=1)
    assert result["failures"] == []
    counts: Counter[str] = Counter()
    for row in result["by_format"].values():
        counts.update(row)
    assert counts["files"] == FILES and min(counts["read"], counts["refused"], counts["rejected"]) > FILES / 10
    assert counts["rows_read"] == counts["kept"] + counts["filtered_out"] + counts["rejected"] + counts["removed"]


def test_unharmed_files_are_read(tmp_path: Path) -> None:
    for number, (suffix, format, content) in enumerate(reader_fuzz.seed_files(3)):
        path = tmp_path / f"f{number}{suffix}"
        path.write_bytes(content)
        counts: Counter[str] = Counter()
        options = {} if format == "auto" else {"format": format}
        assert reader_fuzz.read_file(path, options, counts) is None
        assert counts["read"] == 1 and counts["kept"] > 0, path


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
        (ValueError("no sentence"), "no sentence: no sentence"),
        (None, "2 rows read, but {'kept': 1, 'filtered_out': 0, 'rejected': 0, 'removed': 0}"),
    ):
        monkeypatch.setattr(reader_fuzz, "read_events", lambda *a, e=error, **o: broken(e, *a, **o))
        assert reader_fuzz.read_file(path, {}, Counter()) == problem
