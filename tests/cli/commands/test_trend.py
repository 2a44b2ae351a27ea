"""segue trend as a user types it."""

import json
from pathlib import Path

import pytest
from tests.support.cli import run

DAY_S = 86_400


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve days: ten events a day for tea, for 茶 as many as the day's number."""
    path = tmp_path_factory.mktemp("trend") / "shop.csv"
    lines = ["user,item,time"]
    for day in range(12):
        lines += [f"u{n},tea,{1_700_000_000 + day * DAY_S + n}" for n in range(10)]
        lines += [f"u{n},茶,{1_700_000_000 + day * DAY_S + n}" for n in range(day)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rising_items_with_a_chart(log: Path, tmp_path: Path) -> None:
    items = tmp_path / "items.csv"
    items.write_text("item,title\n茶,Green\ntea,Black\n", encoding="utf-8")
    head, first, *rest = run("trend", str(log), "--items", str(items), "--set", "period_s=86400").stdout.splitlines()
    assert head.split() == ["#", "item", "title", "recent", "events", "mean", "forecast", "lift"]
    place, item, title, chart, events, mean, forecast, _, lift = first.split()
    assert (place, item, title, events) == ("1", "茶", "Green", "66")
    assert len(chart) == 11 and chart[-1] == "█" and list(chart) == sorted(chart)
    assert float(lift) > 1.2 and float(forecast) > float(mean)
    assert rest[-1].startswith("Forecast: events in the next 1 d, beside the long-run mean, at average traffic")


def test_json_holds_the_numbers(log: Path) -> None:
    result = json.loads(run("trend", str(log), "--set", "period_s=86400", "--json", "--k", "1").stdout)
    assert (result["period_s"], result["periods"], result["settings"]["method"]) == (DAY_S, 11, "exponential")
    (first,) = result["items"]
    assert (first["item_id"], first["title"], first["events"]) == ("茶", "", 66)
    assert first["recent"] == list(range(1, 12))
    assert first["lift"] == pytest.approx(first["forecast"] / first["baseline"])


def test_no_item_rises(log: Path) -> None:
    assert "No item with 1000 events or more is rising." in run("trend", str(log), "--min-events", "1000").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["LOG", "--k", "0"], "segue: k must be at least 1, got 0.\n"),
        (
            ["LOG", "--set", "method=arima"],
            "Setting 'method' must be one of 'exponential', 'ar', 'var', got 'arima'.\n",
        ),
        (["nowhere.csv"], "segue: There is no file nowhere.csv.\n"),
        (
            ["LOG", "--set", "period_s=432000", "--set", "method=var"],
            "Method var needs at least 13 periods, and this log has 2: choose a shorter period_s, "
            "fewer lags or components, or method exponential.\n",
        ),
    ],
)
def test_errors_of_the_user_are_one_sentence(log: Path, arguments: list[str], sentence: str) -> None:
    done = run("trend", *[str(log) if a == "LOG" else a for a in arguments], code=2)
    assert sentence in done.stderr
    assert done.stdout == ""


def test_a_log_without_timestamps_has_no_trend(tmp_path: Path) -> None:
    path = tmp_path / "order.txt"
    path.write_text("1 a\n1 b\n2 a\n", encoding="utf-8")
    error = run("trend", str(path), "--format", "pairs", code=2).stderr
    assert error.endswith(f"segue: {path} has no timestamps, and a trend needs them.\n")
