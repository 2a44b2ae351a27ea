"""The rules of the house: floors, sizes, words on every module, nothing that can run code from a file."""

import ast
import dataclasses
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src" / "segue").rglob("*.py"))
LAYERS = [
    {"system"},
    {"config"},
    {"data"},
    {"models"},
    {"training", "evaluation", "pipeline"},
    {"serving"},
    {"workflows"},
    {"estimators"},
    {"cli"},
    {"", "__main__"},
]
"""Top-level packages from the lowest layer to the highest; a package imports itself and lower layers only, so the
packages of one layer do not import each other."""
MAX_MODULES = 16
"""Modules of one folder, ``__init__`` not counted."""
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


@functools.cache
def parse(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def layer_of(package: str) -> int:
    return next(i for i, packages in enumerate(LAYERS) if package in packages)


def import_graph(trees: dict[str, ast.AST]) -> dict[str, set[str]]:
    """Module -> the modules of the same tree that it imports, inside functions and type checks as well."""
    graph: dict[str, set[str]] = {}
    for name, tree in trees.items():
        imported = {i.removeprefix("segue.") for i in imports_of(tree) if i.startswith("segue.")}
        graph[name] = (imported & set(trees)) - {name}
    return graph


def upward_imports(graph: dict[str, set[str]]) -> list[str]:
    """Imports of a higher layer, or of another package of the same layer."""
    wrong = []
    for name, imported in graph.items():
        own = part_of(name)
        for other in sorted(imported):
            target = part_of(other)
            if target != own and layer_of(target) >= layer_of(own):
                wrong.append(f"{name} imports {other}")
    return wrong


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components of more than one node: nodes that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for node in graph.get(todo.pop(), set()) - seen:
                seen.add(node)
                todo.append(node)
        return seen

    reach = {node: reached(node) for node in graph}
    groups = {frozenset({node} | {o for o in reach[node] if node in reach.get(o, set())}) for node in graph}
    return [set(group) for group in groups if len(group) > 1]


def folder_graphs(graph: dict[str, set[str]]) -> dict[str, dict[str, set[str]]]:
    """Folder -> the imports between its sub-folders."""
    graphs: dict[str, dict[str, set[str]]] = {}
    for name, imported in graph.items():
        for other in imported:
            own, target = name.split(".")[:-1], other.split(".")[:-1]
            depth = next((i for i, (a, b) in enumerate(zip(own, target, strict=False)) if a != b), None)
            if depth is not None:
                folders = graphs.setdefault(".".join(own[:depth]), {})
                folders.setdefault(own[depth], set()).add(target[depth])
                folders.setdefault(target[depth], set())
    return graphs


@functools.cache
def source_graph() -> dict[str, set[str]]:
    return import_graph({name_of(source): parse(source) for source in SOURCES})


def test_no_module_imports_a_higher_layer() -> None:
    assert not upward_imports(source_graph())


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circles(source_graph())


def test_no_sibling_folders_import_each_other_in_a_circle() -> None:
    wrong = {folder: circles(graph) for folder, graph in folder_graphs(source_graph()).items()}
    assert not {folder: found for folder, found in wrong.items() if found}


def test_no_folder_is_too_large() -> None:
    modules: dict[Path, int] = {}
    for source in SOURCES:
        modules[source.parent] = modules.get(source.parent, 0) + (source.name != "__init__.py")
    assert not {str(folder): count for folder, count in modules.items() if count > MAX_MODULES}
    assert modules[ROOT / "src" / "segue"] <= 2


def test_serving_never_imports_training() -> None:
    graph = source_graph()
    assert not [name for name in graph if part_of(name) == "serving" and "training" in map(part_of, graph[name])]


def test_the_guards_catch_an_upward_import_and_a_circle() -> None:
    """Each guard above fails on a tree that breaks its rule, also where the import hides inside a function."""
    code = {
        "data.a": "def f():\n    from segue.models.b import x\n",
        "models.b": "import segue.data.a\n",
        "training.c": "from segue.evaluation import d\n",
        "evaluation.d": "",
        "models.knn.e": "from segue.models.neural.f import x\n",
        "models.neural.f": "",
        "models.neural.g": "if TYPE_CHECKING:\n    from segue.models.knn.h import x\n",
        "models.knn.h": "",
    }
    graph = import_graph({name: ast.parse(text) for name, text in code.items()})
    assert upward_imports(graph) == ["data.a imports models.b", "training.c imports evaluation.d"]
    assert circles(graph) == [{"data.a", "models.b"}]
    assert circles(folder_graphs(graph)["models"]) == [{"knn", "neural"}]


def test_every_module_says_what_it_is_for() -> None:
    silent = [name_of(s) for s in SOURCES if not ast.get_docstring(parse(s))]
    assert not silent


COMMAND_ARGUMENTS = 12
"""Most parameters of a command; others have 7. Each is an option that a user types, or a group of such options."""


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
                if length > 60:
                    wrong.append(f"{name_of(source)}.{node.name} has {length} lines")
                limit = COMMAND_ARGUMENTS if name_of(source).startswith("cli.commands.") else 7
                if arguments > limit:
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


def score_sorts(tree: ast.AST) -> list[str]:
    """Calls that sort by descending score: ``argsort`` of a negated array, ``lexsort`` with a negated key.

    Lengths are no scores: batches are sorted by descending length in several places.
    """
    calls = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("argsort", "lexsort"):
            arguments = [*node.args, getattr(node.func, "value", node.func)]
            keys = [key for argument in arguments for key in getattr(argument, "elts", [argument])]
            if any(isinstance(key, ast.UnaryOp) and "lengths" not in ast.unparse(key) for key in keys):
                calls.append(ast.unparse(node))
    return calls


def test_scores_are_sorted_in_one_module() -> None:
    """Order and ties of a list are decided in ``models/top_k.py`` alone."""
    modules = {name_of(source) for source in SOURCES if score_sorts(parse(source))}
    assert modules == {"models.top_k"}


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("np.argsort(-scores_V, kind='stable')[:k]", 1),
        ("items[np.lexsort((items, -scores))]", 1),
        ("order = (-scores_V).argsort()", 1),
        ("np.argsort(-lengths, kind='stable')", 0),
        ("np.lexsort((times_N, items_N))", 0),
        ("np.argsort(items_M, kind='stable')", 0),
    ],
)
def test_the_guard_catches_a_sort_by_score(code: str, count: int) -> None:
    assert len(score_sorts(ast.parse(code))) == count


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
                if not dataclasses.is_dataclass(config):  # a protocol of settings
                    continue
                for field in dataclasses.fields(config):
                    if len(re.findall(rf"\.{field.name}\b", text)) == 0:
                        unread.append(f"{node.name}.{field.name}")
                own = [part for part in node.body if isinstance(part, ast.AnnAssign)]  # not what a part hands down
                assert len(own) <= 10, f"{node.name} has too many fields"
    assert not unread, f"No code reads {unread}"


def test_importing_segue_loads_nothing_heavy() -> None:
    modules = (
        "sys, segue, segue.estimators.estimator, segue.workflows.fit_model, segue.workflows.train_model, segue.cli.main"
    )
    code = f"import {modules}; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & (HEAVY - {"rich"})


def test_a_missing_public_name_gets_a_sentence() -> None:
    import segue.estimators.recommenders

    with pytest.raises(AttributeError, match="segue has no 'Gru4Rec'; it has EventLog, read_events"):
        _ = segue.Gru4Rec
    assert len(set(segue.__all__) - set(vars(segue.estimators.recommenders))) <= 7
    for name in segue.__all__:
        assert getattr(segue, name) is not None
