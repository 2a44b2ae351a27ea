"""Output of the commands: tables align, JSON is one document, progress is one line per stage."""

import json
import unicodedata

import pytest

from segue.cli import output
from segue.training.progress import Progress


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def test_columns_align_under_wide_characters(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["1", "茶壶", "0.5"], ["2", "tea [new]", "10.25"], ["3", "café", "7"]]
    output.table(None, ["#", "title", "score"], rows, left=2)
    lines = capsys.readouterr().out.splitlines()
    assert len({width(line) for line in lines}) == 1
    assert [line.split()[-1] for line in lines] == ["score", "0.5", "10.25", "7"]
    assert "tea [new]" in lines[2]


def test_json_keeps_every_script_and_refuses_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"item": "茶", "score": 0.5})
    shown = capsys.readouterr().out
    assert "茶" in shown and json.loads(shown) == {"item": "茶", "score": 0.5}
    with pytest.raises(ValueError, match="Out of range float"):
        output.print_json({"score": float("nan")})


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (75.4, "1:15"), (3661, "1:01:01"), (59.6, "1:00")])
def test_durations(seconds: float, shown: str) -> None:
    assert output.format_clock(seconds) == shown


def test_progress_of_a_training_is_one_line() -> None:
    now = Progress(0, 5, 10, 100, 6.25, 0.125, 12345.6, 90.0)
    assert output.training_line(now) == "epoch 1/5, loss 6.250, validation 0.1250, 12,346 events/s, 1:30 left at most"
    early = Progress(1, 5, 10, 100, 6.25, None, 12345.6, 90.0)
    assert output.training_line(early) == "epoch 2/5, loss 6.250, 12,346 events/s, 1:30 left at most"


def test_a_file_gets_a_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress() as report:
        report("training markov", None)
        report("training markov", Progress(0, 5, 10, 100, 6.25, None, 1.0, 1.0))
        report("evaluating markov", None)
        report("evaluating markov", (5, 10))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "training markov ...\nevaluating markov ...\n"


@pytest.mark.parametrize(
    ("values", "shown"), [([], ""), ([0, 0], "▁▁"), ([1, 2, 4], "▃▅█"), ([0, 1, 100], "▁▁█"), ([-1, 8], "▁█")]
)
def test_sparkline(values: list[float], shown: str) -> None:
    assert output.sparkline(values) == shown
