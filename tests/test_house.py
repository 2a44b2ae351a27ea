"""The rules of the house: floors, sizes, words on every module, nothing that can run code from a file."""

import ast
import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src" / "segue").rglob("*.py"))
FLOORS = {
    "settings": 0,
    "durable": 0,
    "data": 1,
    "models": 2,
    "training": 3,
    "evaluation": 3,
    "pipeline": 3,
    "serving": 4,
    "memory": 0,
    "work": 4,
    "fitting": 5,
    "weighing": 6,
    "composing": 6,
    "opinion": 6,
    "judged": 6,
    "ranking": 5,
    "experiment": 6,
    "planning": 6,
    "updating": 6,
    "recommender": 6,
    "recommenders": 6,
    "transfer": 6,
    "batch": 6,
    "cli": 7,
    "__main__": 8,
    "": 8,
}
"""Where each part of the house lies; a part imports its own floor's or lower ones."""
WINGS = {"training", "evaluation", "pipeline"}
HEAVY = {
    "torch",
    "polars",
    "scipy",
    "onnxruntime",
    "onnx",
    "uvicorn",
    "starlette",
    "apsw",
    "pandas",
    "rich",
    "numba",
    "statsmodels",
    "lightgbm",
    "faiss",
    "prometheus_client",
}


def name_of(source: Path) -> str:
    return ".".join(source.relative_to(ROOT / "src" / "segue").with_suffix("").parts).removesuffix(".__init__")


def part_of(module: str) -> str:
    module = "" if module == "__init__" else module
    return module.split(".")[0]


def imports_of(tree: ast.AST, *, top_only: bool = False) -> set[str]:
    """Full names of what a module imports; with ``top_only`` not what stands inside functions or type checks."""
    found: set[str] = set()
    body = tree.body if top_only and isinstance(tree, ast.Module) else list(ast.walk(tree))
    for node in body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def segue_parts(tree: ast.AST) -> set[str]:
    names = {name for name in imports_of(tree) if name.startswith("segue.")}
    return {part_of(name.removeprefix("segue.")) for name in names}


def parse(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def is_type_check(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_nothing_imports_upward() -> None:
    wrong = []
    for source in SOURCES:
        own = part_of(name_of(source))
        for part in segue_parts(parse(source)):
            if FLOORS[part] > FLOORS[own]:
                wrong.append(f"{name_of(source)} imports {part}")
    assert not wrong, "\n".join(wrong)


def test_the_wings_are_strangers() -> None:
    wrong = []
    for source in SOURCES:
        own = part_of(name_of(source))
        others = segue_parts(parse(source)) & (WINGS - {own})
        if own in WINGS and others:
            wrong.append(f"{name_of(source)} imports {', '.join(others)}")
        if own == "serving" and {"training"} & segue_parts(parse(source)):
            wrong.append(f"{name_of(source)} imports training")
    assert not wrong, "\n".join(wrong)


def test_an_upward_import_would_be_seen() -> None:
    tree = ast.parse("from segue.cli.main import app\nfrom segue import fitting\nimport segue.serving.api\n")
    assert {"cli", "fitting", "serving"} <= segue_parts(tree)


def test_every_module_says_what_it_is_for() -> None:
    silent = [name_of(s) for s in SOURCES if not ast.get_docstring(parse(s))]
    assert not silent


def test_files_and_functions_fit_in_a_glance() -> None:
    wrong = []
    for source in SOURCES:
        lines = len(source.read_text(encoding="utf-8").splitlines())
        if lines > 300:
            wrong.append(f"{name_of(source)} has {lines} lines")
        for node in ast.walk(parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                arguments = len(node.args.args) + len(node.args.kwonlyargs)
                arguments -= sum(a.arg in ("self", "cls", "ctx") for a in node.args.args)
                if length > 60 and not name_of(source).startswith("cli."):
                    wrong.append(f"{name_of(source)}.{node.name} has {length} lines")
                if arguments > 7 and not name_of(source).startswith("cli."):
                    wrong.append(f"{name_of(source)}.{node.name} takes {arguments} arguments")
    assert not wrong, "\n".join(wrong)


def test_no_vague_names() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "manager", "core", "misc"}
    assert not [name_of(s) for s in SOURCES if set(name_of(s).split(".")) & vague]


def test_public_things_are_explained() -> None:
    silent = []
    for source in SOURCES:
        if name_of(source).startswith("serving"):
            continue
        for node in parse(source).body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                silent.append(f"{name_of(source)}.{node.name}")
    assert not silent, "\n".join(silent)


UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
"""Reading a file with one of these can run code."""
UNSAFE_CALLS = {"eval", "exec", "compile", "hasattr", "torch.load", "yaml.load", "os.system", "os.popen"}
GLOBAL_SEEDS = {"torch.manual_seed", "random.seed", "np.random.seed", "torch.cuda.manual_seed_all"}
OWN_GENERATORS = {"default_rng", "Generator", "SeedSequence"}


def unsafe_things(tree: ast.AST) -> list[str]:
    """What must not be in the house: code read from files, shared randomness, capabilities by exception."""
    found = sorted(name for name in imports_of(tree) if name.split(".")[0] in UNSAFE_MODULES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in UNSAFE_CALLS | GLOBAL_SEEDS:
                found.append(name)
            drawn = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", name)
            if drawn and drawn.group(1) not in OWN_GENERATORS:
                found.append(name)
            options = {k.arg for k in node.keywords if isinstance(k.value, ast.Constant) and k.value.value is True}
            found += sorted(options & {"allow_pickle", "shell"})
        elif isinstance(node, ast.Name) and node.id == "NotImplementedError":
            found.append(node.id)
    return found


def test_no_code_from_files_and_no_global_seeds() -> None:
    wrong = [f"{name_of(s)}: {', '.join(found)}" for s in SOURCES if (found := unsafe_things(parse(s)))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from joblib import load", ["joblib", "joblib.load"]),
        ("eval(text)", ["eval"]),
        ("torch.load(path)", ["torch.load"]),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(path, allow_pickle=False)", []),
        ("np.random.rand(3)", ["np.random.rand"]),
        ("np.random.default_rng(3)", []),
        ("torch.manual_seed(3)", ["torch.manual_seed"]),
        ("self._generator.manual_seed(3)", []),
        ("raise NotImplementedError", ["NotImplementedError"]),
    ],
)
def test_an_unsafe_thing_would_be_seen(code: str, found: list[str]) -> None:
    assert unsafe_things(ast.parse(code)) == found


def test_no_paths_of_a_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    private = re.compile(r"(?<![\w.:/])/(home|root|Users|work|tmp|mnt|opt|srv)/")
    named = [ROOT / p for p in tracked if p.endswith((".py", ".md", ".toml", ".txt", ".json", ".yml"))]
    paths = [*named, *(ROOT / "scripts").iterdir(), *(ROOT / ".ci").iterdir()]
    wrong = [str(p) for p in paths if p.is_file() and p.name != "test_house.py" and private.search(p.read_text())]
    assert not wrong


def test_every_setting_is_read_by_someone() -> None:
    text = "\n".join(s.read_text(encoding="utf-8") for s in SOURCES)
    unread = []
    for source in SOURCES:
        tree = parse(source)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
                config = getattr(importlib.import_module(f"segue.{name_of(source)}"), node.name)
                for field in dataclasses.fields(config):
                    if len(re.findall(rf"\.{field.name}\b", text)) == 0:
                        unread.append(f"{node.name}.{field.name}")
                own = [part for part in node.body if isinstance(part, ast.AnnAssign)]  # not what a part hands down
                assert len(own) <= 10, f"{node.name} has too many fields"
    assert not unread, f"No code reads {unread}"


def test_importing_segue_loads_nothing_heavy() -> None:
    code = "import sys, segue, segue.recommender, segue.fitting, segue.experiment, segue.cli.main; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & (HEAVY - {"rich"})


def test_a_missing_public_name_gets_a_sentence() -> None:
    import segue.recommenders

    with pytest.raises(AttributeError, match="segue has no 'Gru4Rec'; it has EventLog, read_events"):
        _ = segue.Gru4Rec
    assert len(set(segue.__all__) - set(vars(segue.recommenders))) <= 7
    for name in segue.__all__:
        assert getattr(segue, name) is not None
