"""The language of the source: one name per thing, the field's words, docstrings that explain their parameters."""

import ast
import importlib.util
import re
import textwrap
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "segue"
GLOSSARY = ROOT / "docs" / "glossary.md"


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


measure_words = load_script("measure_words")

SAME_MODULE_NAME = {
    "config": "the settings of a package: training, training/rankers, pipeline, serving",
    "options": "command-line options, and the options of readers",
    "dual_gru": "a click ranker: numpy model, torch net",
    "dien": "a click ranker: numpy model, torch net",
    "gru4rec": "a network: settings, torch net",
    "seq2seq": "a network: settings, torch net",
    "bert4rec": "a network: settings, torch net",
    "hstu": "a network: settings, torch net",
    "lrurec": "a network: settings, torch net",
    "sasrec": "a network: settings, torch net",
    "pipeline": "the pipeline, and the command that trains one",
    "train_ranker": "a workflow, and the command that runs it",
    "add_items": "the operation on models, and the command that runs it",
    "trend": "a model, and the command that shows it",
    "report": "the report of experiments, and the command that shows it",
    "profile": "the profile of a log, and the command that shows it",
}
"""Module names that occur twice, and why."""
ESTIMATORS = "estimators.recommenders"
"""Its classes are the public estimators around the scorers of the same names."""


def trees(folder: Path = SOURCE) -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    }


def repeated_names(modules: dict[str, ast.Module]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(classes, modules) that share a name with another one: name -> where."""
    classes, files = defaultdict(list), defaultdict(list)
    for module, tree in modules.items():
        if (leaf := module.rpartition(".")[2]) not in ("__init__", "__main__"):
            files[leaf].append(module)
        if module != ESTIMATORS:
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    classes[node.name].append(module)
    return tuple({name: places for name, places in one.items() if len(places) > 1} for one in (classes, files))  # type: ignore[return-value]


def test_no_two_classes_share_a_name() -> None:
    assert not repeated_names(trees())[0]


def test_modules_share_a_name_only_for_a_listed_reason() -> None:
    found = set(repeated_names(trees())[1])
    assert found - set(SAME_MODULE_NAME) == set(), "give one of them another name, or list the reason"
    assert set(SAME_MODULE_NAME) - found == set(), "no longer needed"


@pytest.fixture(scope="module")
def figures() -> dict:
    return measure_words.measure(SOURCE)


def test_docstrings_do_not_open_with_a_question_word(figures: dict) -> None:
    assert figures["question-word openings %"] < 2


def test_the_old_private_words_are_rare(figures: dict) -> None:
    assert figures["what, whatever, whoever, nobody, asked, told per 1,000"] < 1


def test_public_functions_explain_their_parameters(figures: dict) -> None:
    assert figures["of them with a parameter section %"] >= 70


LENSKIT = {"user": 5.44, "item": 17.35, "session": 0.2, "embedding": 0.47}
"""Occurrences per 1,000 docstring words of lenskit 2025.8.1, counted by scripts/measure_words.py."""


@pytest.mark.parametrize("word", LENSKIT)
def test_the_words_of_the_field_are_used(figures: dict, word: str) -> None:
    assert figures["per 1,000 words"][word] > LENSKIT[word]


def glossary() -> list[tuple[str, list[str]]]:
    """(word, the words that it replaced) of each row of docs/glossary.md."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    words = [(word.strip(), [old.strip() for old in replaced.split(",") if old.strip()]) for word, _, replaced in rows]
    return [(word, replaced) for word, replaced in words if word not in ("word", "---")]


def test_the_glossary_has_one_word_per_thing() -> None:
    words = [word for word, _ in glossary()]
    assert len(words) == len(set(words)) > 40
    replaced = [old for _, olds in glossary() for old in olds]
    assert not set(words) & set(replaced), "a word is either used or replaced"


CLASS_WORDS = re.compile(r"[A-Z][a-z]+|[A-Z]+(?![a-z])")
PRIVATE_NAMES = {
    *("Shelf", "Door", "Fleet", "Crew", "Branch", "Keeper", "Lineup", "Audience", "Wish", "Asked", "Told", "Found"),
    *("Newcomers", "Ladder", "Shop", "Circumstances", "Followed", "Opinion", "Heard", "Judged", "Widened", "Trim"),
    *("Facts", "Views", "Writers", "Script", "Lanes", "Blocks", "Screen"),
}
"""Words that once were class names; none of them is a word of the field."""


def test_no_class_has_a_private_word_in_its_name() -> None:
    wrong = [
        f"{module}.{node.name}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and PRIVATE_NAMES & set(CLASS_WORDS.findall(node.name))
    ]
    assert not wrong


def test_the_guards_catch_what_they_are_for(tmp_path: Path) -> None:
    """Each figure moves with a source that breaks its rule."""
    (tmp_path / "a.py").write_text(
        textwrap.dedent(
            '''
            """What this module is for."""
            class Twice:
                """Whoever asked is told."""
            def explained(first, second):
                """Return a sum.

                Args:
                    first: a number.
                    second: a number.
                """
            def unexplained(first, second):
                """Return the session of a user: items with embeddings."""
            def _private(first, second): ...
            '''
        )
    )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.py").write_text('"""Holds nobody."""\nclass Twice: ...\nLIMIT = 3\n"""Whether it holds."""\n')
    classes, modules = repeated_names(trees(tmp_path))
    assert (classes, modules) == ({"Twice": ["a", "b.a"]}, {"a": ["a", "b.a"]})
    found = measure_words.measure(tmp_path)
    assert found["public functions of two or more parameters"] == 2
    assert found["of them with a parameter section %"] == 50
    assert found["docstrings"] == 6
    assert found["question-word openings %"] == 50
    assert found["what, whatever, whoever, nobody, asked, told per 1,000"] == pytest.approx(
        1000 * 5 / found["words"], abs=0.01
    )
    assert all(found["per 1,000 words"][word] > 0 for word in ("user", "session", "item", "embedding"))
