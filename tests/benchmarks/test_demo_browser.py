"""The demo shop in a real browser: clicks change the row of recommendations."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="Playwright, which drives the browser, is not installed.")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CHROMIUM = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed.")
def test_a_visitor_clicks_and_the_row_follows(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import demo_browser

    monkeypatch.setattr(demo_browser, "IMAGES", tmp_path)
    with demo_browser.demo(tmp_path) as url:
        result = demo_browser.shop(url, CHROMIUM)
    assert len(result["steps"]) == len(demo_browser.CLICKS)
    assert {path.read_bytes()[:4] for path in tmp_path.glob("*.png")} == {b"\x89PNG"}
