"""The documents are true: commands they show exist, links lead somewhere, numbers come from result files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def shown_commands() -> set[tuple[str, ...]]:
    """(command, option, option, ...) of every ``segue ...`` line in the documents."""
    found = set()
    for page in PAGES:
        for line in re.findall(r"^\s*segue ([a-z]+.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            found.add((line.split()[0], *re.findall(r"(--[a-z-]+)", line)))
    return found


@pytest.mark.parametrize("shown", sorted(shown_commands()), ids=" ".join)
def test_commands_and_options_in_the_documents_exist(shown: tuple[str, ...]) -> None:
    command, *options = shown
    done = subprocess.run(
        [sys.executable, "-m", "segue.cli.main", command, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(option in done.stdout for option in options), done.stdout


def test_the_readmes_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        f"u{p},{i},{1_700_000_000 + 60 * s + p}" for p in range(30) for s, i in enumerate(["85123A", "71053", "x", "y"])
    ]
    (tmp_path / "shop.csv").write_text("user,item,time\n" + "\n".join(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert block is not None
    exec(compile(block.group(1), "README.md", "exec"), {})
    assert (tmp_path / "run" / "manifest.json").exists()


def test_result_files_say_where_they_come_from() -> None:
    files = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert files
    for path in files:
        about = json.loads(path.read_text(encoding="utf-8"))["about"]
        assert {"cpu", "cores", "commit", "seed", "date"} <= set(about), path.name


def test_scripts_named_in_the_readme_can_be_run() -> None:
    import os

    for name in ("scripts/quickstart", "scripts/test", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
