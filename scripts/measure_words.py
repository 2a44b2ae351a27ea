"""Measure the language of a Python source tree: words of docstrings, first words, parameter sections.

  python scripts/measure_words.py [FOLDER] [--json]     default folder: src/segue

One count for any package, to compare them. A docstring is that of a module, class or function,
or the string below a field or constant. Tests and benchmarks are not part of the count.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORDS = {
    "user": r"users?",
    "item": r"items?",
    "session": r"sessions?",
    "event / interaction": r"events?|interactions?",
    "embedding": r"embeddings?",
    "history": r"histor(?:y|ies)",
    "candidate": r"candidates?",
    "return(s)": r"returns?",
    "parameter / argument / args": r"parameters?|arguments?|args",
    "default": r"defaults?",
    "person / people": r"persons?|people",
    "what": r"what|whatever",
    "ask": r"ask|asks|asked|asking",
    "tell, told": r"tell|tells|told",
    "whoever, whom, whose": r"whoever|whom|whose",
    "nobody, anybody, somebody": r"(?:no|any|some|every)body",
}
"""Row of the table -> pattern of the words it counts."""
BANNED = r"what|whatever|whoever|nobody|asked|told"
QUESTION_WORDS = frozenset(
    [
        "What",
        "Whether",
        "How",
        "Where",
        "Whose",
        "Who",
        "Whom",
        "When",
        "Which",
        "Why",
        "Whoever",
        "Whatever",
        "Everything",
        "Nothing",
        "None",
        "Of",
    ]
)


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield every docstring of a module, those below fields and constants included."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (own := ast.get_docstring(node)) is not None:
            yield own
        if isinstance(node, ast.Module | ast.ClassDef):
            for before, after in zip(node.body, node.body[1:], strict=False):
                if isinstance(before, ast.Assign | ast.AnnAssign) and _text(after) is not None:
                    yield str(_text(after)).strip()


def _text(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return None


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield functions and methods without a leading underscore, of public classes, that take two or more parameters."""
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for member in members:
            is_function = isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and not member.name.startswith("_") and len(parameters(member)) >= 2:
                yield member


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of a function's parameters, without ``self`` and ``cls``."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    every += [extra for extra in (given.vararg, given.kwarg) if extra is not None]
    return [one.arg for one in every if one.arg not in ("self", "cls")]


def has_parameter_section(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a docstring explains parameters: a section (Google or NumPy style), Sphinx fields, or a reference
    to the protocol that does ("See ``Scorer.scores``.")."""
    text = ast.get_docstring(function) or ""
    section = re.search(r"^\s*(?:Args|Arguments|Parameters):?\s*$|:param ", text, re.MULTILINE)
    return bool(section or re.match(r"See `", text))


def measure(folder: Path) -> dict[str, Any]:
    """Return the figures of all ``.py`` files below a folder."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
        if not {"tests", "test", "benchmarks", "examples"} & set(path.relative_to(folder).parts)
    ]
    texts = [text for tree in trees for text in docstrings(tree)]
    words = re.findall(r"[A-Za-z][A-Za-z'-]*", "\n".join(texts))
    lower = [word.lower() for word in words]
    thousand = max(len(words), 1) / 1000

    def rate(pattern: str) -> float:
        return round(sum(re.fullmatch(pattern, word) is not None for word in lower) / thousand, 2)

    openings = [re.match(r"\W*(\w+)", text) for text in texts]
    questions = sum(found is not None and found[1] in QUESTION_WORDS for found in openings)
    functions = [function for tree in trees for function in public_functions(tree)]
    return {
        "files": len(trees),
        "docstrings": len(texts),
        "words": len(words),
        "per 1,000 words": {name: rate(pattern) for name, pattern in WORDS.items()},
        "what, whatever, whoever, nobody, asked, told per 1,000": rate(BANNED),
        "question-word openings %": round(100 * questions / max(len(texts), 1), 2),
        "public functions of two or more parameters": len(functions),
        "of them with a parameter section %": round(
            100 * sum(map(has_parameter_section, functions)) / max(len(functions), 1), 1
        ),
    }


def main() -> int:
    """Print the figures of one folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "src" / "segue")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    figures = measure(options.folder)
    if options.json:
        json.dump(figures, sys.stdout, indent=2)
        print()
        return 0
    rates = figures.pop("per 1,000 words")
    for name, value in {**figures, **{f"'{word}' per 1,000": rate for word, rate in rates.items()}}.items():
        print(f"{name:60} {value:>9}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
