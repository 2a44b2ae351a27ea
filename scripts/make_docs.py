"""Writes the pages that follow from the code and from results: docs/reference/cli.md from the commands' help,
docs/reference/settings.md from the settings classes, docs/reference/modules.md from the modules' first lines,
docs/reference/artifact.md from the table of tensors, the README's table from
benchmarks/results/accuracy-online-retail.json.

  python scripts/make_docs.py           writes them
  python scripts/make_docs.py --check   exits with 1 when they are stale

Needs the project's environment: scripts/test makes it, and runs the check.
"""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

from settings_page import settings

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "segue"


def commands() -> str:
    """Return docs/reference/cli.md: the help of every command as it is printed."""
    import click
    from typer.main import get_command
    from typer.testing import CliRunner

    from segue.cli.main import app

    parts = ["# Commands", "", "Made by `scripts/make_docs.py` from `segue COMMAND --help`.", ""]
    parts += [
        "Every command with a result takes `--json`: then standard output holds one JSON document and nothing else,",
        "and progress goes to standard error. Exit codes: 0 done, 2 an error that the user can correct (one sentence "
        "on",
        "standard error), 130 Ctrl-C. `SEGUE_TRACEBACK=1` prints the traceback of such an error.",
    ]
    for name in get_command(app).list_commands(click.Context(click.Command("segue"))):
        shown = CliRunner().invoke(app, [name, "--help"], prog_name="segue", env={"COLUMNS": "80"})
        parts += ["", f"## segue {name}", "", "```", shown.output.rstrip(), "```"]
    return "\n".join(parts) + "\n"


def modules() -> str:
    """Return docs/reference/modules.md: every file with its first line."""
    parts = ["# Modules", "", "Made by `scripts/make_docs.py` from the modules' first lines."]
    folder = None
    for path in sorted(SOURCE.rglob("*.py"), key=lambda p: (p.parent.as_posix(), p.name)):
        own_folder = path.parent.relative_to(SOURCE.parent).as_posix()
        if own_folder != folder:
            parts += ["", f"## {own_folder}", "", "| file | content |", "|---|---|"]
            folder = own_folder
        caption = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        parts.append(f"| {path.name} | {caption.replace('|', chr(92) + '|')} |")
    return "\n".join(parts) + "\n"


def artifact() -> str:
    """Return docs/reference/artifact.md: files and tensors of an artifact, from ``segue.models.artifact_tensors``."""
    from segue.models.artifact import FORMAT
    from segue.models.artifact_tensors import FILES, TENSORS

    groups: dict[tuple[Any, ...], list[str]] = {}
    for model, tensors in TENSORS.items():
        groups.setdefault(tensors, []).append(model)
    parts = ["# Artifact", "", "Made by `scripts/make_docs.py` from `segue.models.artifact_tensors`.", ""]
    parts += [
        f"A fitted model is a folder of four files, in format {FORMAT}. Loading it runs no code. An artifact of",
        "another format is refused: train the model again, or use the version of Segue that wrote it.",
        "",
        "| file | content |",
        "|---|---|",
        *(f"| `{name}` | {content} |" for name, content in FILES.items()),
        "",
        "Shape letters: V catalog size with PAD, D embedding dimension, E input dimension, S stored sessions, users",
        "or sources, M entries, T trees, P periods, F features, C context features, G gates or cohorts, L events of an",
        "item or items of a list, K knots or sources, * any size. A part of a name in braces is a number or the rest",
        "of a name. Files of other names, links, and tensors or values that this page does not allow are refused.",
    ]
    for tensors, models in groups.items():
        parts += ["", f"## {', '.join(models)}", "", "| tensor | dtype | shape | values | meaning |"]
        parts += ["|---|---|---|---|---|"]
        parts += [f"| `{t.name}` | {t.dtype} | {t.shape} | {t.values} | {t.meaning} |" for t in tensors]
    return "\n".join(parts) + "\n"


def readme() -> str:
    """Return README.md with its table from the result file."""
    results = json.loads((ROOT / "benchmarks" / "results" / "accuracy-online-retail.json").read_text(encoding="utf-8"))
    rows = ["| model | ndcg@10 | 95 % interval | recall@10 | mrr@10 | training |", "|---|---|---|---|---|---|"]
    for row in sorted(results["results"], key=lambda r: -r["metrics"]["ndcg@10"]):
        low, high = row["intervals"]["ndcg@10"]
        numbers = [f"{row['metrics'][name]:.3f}" for name in ("ndcg@10", "recall@10", "mrr@10")]
        cells = [row["model"], numbers[0], f"{low:.3f} .. {high:.3f}", *numbers[1:], f"{row['fit_s']:.1f} s"]
        rows.append(f"| {' | '.join(cells)} |")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", "\n".join(rows) + "\n", text, flags=re.DOTALL)


PAGES = {
    "docs/reference/cli.md": commands,
    "docs/reference/modules.md": modules,
    "docs/reference/settings.md": settings,
    "docs/reference/artifact.md": artifact,
    "README.md": readme,
}


def main() -> int:
    """Write the pages, or only report which ones are stale."""
    stale = 0
    for name, make in PAGES.items():
        path = ROOT / name
        wanted = make()
        if path.exists() and path.read_text(encoding="utf-8") == wanted:
            continue
        if "--check" in sys.argv[1:]:
            print(f"{name} is stale: run scripts/make_docs.py.")
            stale = 1
        else:
            path.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
