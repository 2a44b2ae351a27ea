"""The planted bugs of scripts/planted_bugs.toml still apply, and name tests that exist."""

import ast
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def load_script() -> ModuleType:
    """Import scripts/check_mutations.py."""
    spec = importlib.util.spec_from_file_location("check_mutations", ROOT / "scripts" / "check_mutations.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BUGS = load_script().planted_bugs()


def test_every_text_to_replace_occurs_once() -> None:
    sources = {bug.file: (ROOT / "src" / "segue" / bug.file).read_text(encoding="utf-8") for bug in BUGS}
    counts = {bug.promise: sources[bug.file].count(bug.old) for bug in BUGS}
    assert {promise: count for promise, count in counts.items() if count != 1} == {}
    assert [bug.promise for bug in BUGS if bug.old == bug.new] == []


def test_a_planted_file_is_still_python() -> None:
    for bug in BUGS:
        text = (ROOT / "src" / "segue" / bug.file).read_text(encoding="utf-8")
        ast.parse(text.replace(bug.old, bug.new), bug.file)


def test_the_tests_of_a_bug_exist() -> None:
    for bug in BUGS:
        paths = [part for part in bug.arguments if part.startswith("tests/")]
        assert paths and all((ROOT / path).exists() for path in paths), bug.promise
        if "-k" in bug.arguments:
            words = bug.arguments[bug.arguments.index("-k") + 1].split(" or ")
            names = "".join(text for path in paths for text in texts(ROOT / path))
            assert all(word in names for word in words), (bug.promise, words)


def texts(path: Path) -> list[str]:
    """Return the contents of a test file, or of all test files of a folder."""
    files = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
    return [file.read_text(encoding="utf-8") for file in files]


def test_there_are_many_and_no_promise_comes_twice() -> None:
    assert len(BUGS) >= 40
    assert max(Counter(bug.promise for bug in BUGS).values()) == 1
