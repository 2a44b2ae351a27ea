"""Browser test of the demo shop: `python benchmarks/demo_browser.py [--chromium PATH]`.

Clicks on items and checks that the recommendations change. Writes docs/guide/images/demo-*.png and
benchmarks/results/serving-browser.json. Needs playwright (pip) and Chromium (Debian: apt install chromium) on the path.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from machine import ROOT, about, save
from serving_world import free_port

IMAGES = ROOT / "docs" / "guide" / "images"
CLICKS = (("#shelf", 3), ("#next", 0), ("#next", 2), ("#shelf", 7))
"""Element and position of each click."""
ROW = "[...document.querySelectorAll('#next button')].map(button => button.dataset.item)"


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """Run ``segue demo`` on a free port and yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "segue.cli.main", "demo", "--port", str(port), "--out", str(folder / "demo")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(f"segue demo ended with {process.returncode}.")
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def shop(url: str, chromium: str) -> dict[str, Any]:
    """Click through the shop and return the recommendations after each click.

    Args:
        url: address of the shop.
        chromium: path of the browser.

    Raises:
        AssertionError: a click does not change the recommendations.
    """
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(parents=True, exist_ok=True)
    steps: list[dict[str, Any]] = []
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        page.wait_for_selector("body[data-events='0']")
        page.screenshot(path=str(IMAGES / "demo-new-user.png"))
        for number, (element, position) in enumerate(CLICKS, 1):
            before = page.evaluate(ROW)
            button = page.locator(f"{element} button").nth(position)
            item, began = button.get_attribute("data-item"), time.perf_counter()
            button.click()
            page.wait_for_selector(f"body[data-events='{number}']")
            took_ms = round((time.perf_counter() - began) * 1e3, 1)
            after = page.evaluate(ROW)
            assert after != before, f"The recommendations did not change after a click on {item}."
            assert item not in after, f"{item} was viewed, and is recommended again."
            assert len(after) == len(before) == 6
            assert page.evaluate("document.getElementById('path').textContent").startswith("You looked at: ")
            steps.append({"clicked": item, "on": element[1:], "row_after": after, "took_ms": took_ms})
        page.screenshot(path=str(IMAGES / "demo-after-clicks.png"))
        page.reload()
        page.wait_for_selector("body[data-events='0']")
        assert page.evaluate(ROW) == after, "the session is the same after the page was loaded again"
        version = browser.version
        browser.close()
    assert not errors, f"The page reported errors: {errors}."
    return {"chromium": version, "playwright": metadata.version("playwright"), "steps": steps}


def main() -> None:
    """Run the browser test and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser"))
    options = parser.parse_args()
    if options.chromium is None:
        parser.error("There is no chromium on the path: install it, or name it with --chromium.")
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder)) as url:
        steps = shop(url, options.chromium)
    save("serving-browser", {"about": about(), "row_follows_every_click": True, **steps})


if __name__ == "__main__":
    main()
