"""Documents: shown commands exist, links resolve, numbers come from result files, examples run."""

import doctest
import importlib
import json
import re
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from tests.support.cli import run

from segue.cli.commands.quickstart import start

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("src", "docs", "tests", "benchmarks", "scripts", "deploy")
LINKED = sorted(
    page
    for page in [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    if page.name != "LOG.md" and page.parent.name != "decisions"
)
"""Pages whose links are checked; the history keeps its links as they were."""


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead to no file or no heading.

    Args:
        page: path of the page.
        text: its text.
    """
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        path = page.parent / target if target else page
        is_anchor = not anchor or (path.is_file() and anchor in anchors(path.read_text(encoding="utf-8")))
        if not path.exists() or not is_anchor:
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", LINKED, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def test_a_broken_link_would_be_seen() -> None:
    text = "[a](guide/data.md#formats) [b](missing.md) [c](guide/data.md#missing) [d](https://example.org/x)"
    assert broken_links(ROOT / "docs" / "README.md", text) == ["missing.md", "guide/data.md#missing"]


def shown_commands() -> set[tuple[str, ...]]:
    """(command, option, option, ...) of every ``segue ...`` line in the documents."""
    commands = set()
    for page in PAGES:
        for line in re.findall(r"^\s*segue ([a-z]+.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            commands.add((line.split()[0], *re.findall(r"(--[a-z-]+)", line)))
    return commands


@pytest.mark.parametrize("shown", sorted(shown_commands()), ids=" ".join)
def test_commands_and_options_in_the_documents_exist(shown: tuple[str, ...]) -> None:
    command, *options = shown
    done = run(command, "--help")
    assert all(option in done.stdout for option in options), done.stdout


def test_the_python_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        f"u{p},{i},{1_700_000_000 + 60 * s + p}" for p in range(30) for s, i in enumerate(["85123A", "71053", "x", "y"])
    ]
    (tmp_path / "shop.csv").write_text("user,item,time\n" + "\n".join(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert block is not None
    exec(compile(block.group(1), "README.md", "exec"), {})
    assert (tmp_path / "run" / "manifest.json").exists()


def test_the_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of "Your own log" as it stands, on a small log; the last one as a live server that gets the README's
    request."""
    items = ["85123A", "71053", "22423", "47566", "x", "y"]
    rows = [f"u{p},{items[(p + s) % 6]},{1_700_000_000 + 600 * s + p}" for p in range(60) for s in range(8)]
    (tmp_path / "shop.csv").write_text("user,item,time\n" + "\n".join(rows), encoding="utf-8")
    (tmp_path / "products.csv").write_text("item,title\n85123A,Holder\n71053,Lantern\n", encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [re.split(r"\s{2,}", line)[0] for line in re.findall(r"^segue [^\n]+", text, flags=re.MULTILINE)]
    assert [line.split()[1] for line in lines] == ["profile", "compare", "train", "recommend", "serve"]
    monkeypatch.chdir(tmp_path)
    for line in lines[:-1]:
        done = run(*line.split()[1:])
    listed = {row.split()[1] for row in done.stdout.splitlines()[1:]}
    assert listed == {"85123A", "22423", "47566", "x", "y"}, "seen items as in the evaluation, but not the last one"
    body = re.search(r"-d '([^']+)'", text)
    assert body is not None
    server, url = start(tmp_path / lines[-1].split()[2], 0)
    try:
        request = Request(f"{url}/v1/recommend", body.group(1).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as response:
            best = json.load(response)["items"]
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert {item["id"]: item.get("title") for item in best}["71053"] == "Lantern"
    assert len(best) == json.loads(body.group(1))["k"]


def test_pages_made_from_the_code_are_fresh(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "argv", ["make_docs.py", "--check"])
    assert importlib.import_module("make_docs").main() == 0, capsys.readouterr().out


def test_result_files_have_their_provenance() -> None:
    files = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert files
    for path in files:
        about = json.loads(path.read_text(encoding="utf-8"))["about"]
        assert {"cpu", "cores", "commit", "seed", "date"} <= set(about), path.name


def test_scripts_named_in_the_readme_can_be_run() -> None:
    import os

    for name in ("scripts/quickstart", "scripts/test", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name


@pytest.mark.parametrize(
    ("module", "page"),
    [
        ("performance_page", "training"),
        ("pipeline_page", "pipeline"),
        ("serving_page", "serving"),
        ("accuracy_page", "accuracy"),
    ],
)
def test_result_pages_equal_the_result_files(module: str, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    made = importlib.import_module(module).page()
    assert (ROOT / "docs" / "results" / f"{page}.md").read_text(encoding="utf-8") == made
    for line in made.splitlines():
        if line.startswith("!["):
            assert (ROOT / "docs" / "results" / line.partition("(")[2].rstrip(")")).is_file()


def test_plots_are_reproducible(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    plots, page = (importlib.import_module(name) for name in ("plots", "performance_page"))
    for name in ("one", "two"):
        plots.write(plots.limits(page.load_result("speed-limits")), tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    for line in page.page().splitlines():
        if line.startswith("!["):
            assert (ROOT / "docs" / "results" / line.partition("(")[2].rstrip(")")).is_file()


SOURCE = ROOT / "src" / "segue"
EXAMPLES = sorted(path for path in SOURCE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", EXAMPLES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_examples_of_docstrings_run(source: Path) -> None:
    """Every example prints its shown output; the examples of one module share their names."""
    name = ".".join(["segue", *source.relative_to(SOURCE).with_suffix("").parts])
    module = importlib.import_module(name)
    names = dict(vars(module))
    results = []
    for test in sorted(doctest.DocTestFinder().find(module, name), key=lambda test: test.name):
        test.globs = names
        results.append(doctest.DocTestRunner().run(test, clear_globs=False))
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0
