"""Foreign models: copies of sound artifacts with one fault each, consistent otherwise (their manifest fits)."""

import hashlib
import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from segue.data.catalog import Catalog
from segue.models.artifact_tensors import find_tensor
from segue.models.onnx_proto import Node, build_graph

FILES = ("catalog.json", "items.json", "weights.safetensors")
WEIGHTS = "weights.safetensors"
Change = Callable[[Path], None]


class Mutation(NamedTuple):
    """A fault, and the function that makes it in a copy of a sound artifact."""

    name: str
    apply: Change


def make(base: Path, folder: Path, mutation: Mutation) -> Path:
    """Copy an artifact and change the copy; return its folder."""
    shutil.copytree(base, folder)
    mutation.apply(folder)
    return folder


def fix(folder: Path, change: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """Let the manifest fit the files, after a change of its own."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in FILES:
        if (folder / name).is_file():
            manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            manifest["sizes"][name] = (folder / name).stat().st_size
    if change is not None:
        change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _put(name: str, content: bytes) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(content)
        fix(folder)

    return apply


def _manifest(change: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda folder: fix(folder, change)


def _tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Change:
    def apply(folder: Path) -> None:
        arrays = {name: value.copy() for name, value in load_file(folder / WEIGHTS).items()}
        change(arrays)
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / WEIGHTS)
        fix(folder)

    return apply


def _header(change: Callable[[dict[str, Any]], Any], more: bytes = b"") -> Change:
    """Change the header of the tensors, which stays JSON, and append bytes."""

    def apply(folder: Path) -> None:
        raw = (folder / WEIGHTS).read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :] + more)
        fix(folder)

    return apply


def damages(base: Path, seed: int = 0) -> Iterator[Mutation]:
    """Yield faults of the files that the manifest does not fit: cut, flipped, mixed, missing."""
    rng = random.Random(seed)
    for name in (*FILES, "manifest.json"):
        size = (base / name).stat().st_size
        for part in (0.0, rng.random(), 0.99):
            yield Mutation(f"{name} cut at {part:.2f}", lambda f, n=name, s=int(size * part): os.truncate(f / n, s))
        for _ in range(3):
            bit = rng.randrange(size * 8)
            yield Mutation(f"bit {bit} of {name} flipped", lambda f, n=name, b=bit: _flip(f / n, b, name_is=n))
        yield Mutation(f"{name} missing", lambda f, n=name: (f / n).unlink())


def _flip(path: Path, bit: int, name_is: str) -> None:
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)
    if name_is == "manifest.json":  # most bits of its text mean nothing to a model: one that does is flipped besides
        path.write_bytes(bytes(raw).replace(b'"files"', b'"filez"'))


def links(base: Path) -> Iterator[Mutation]:
    """Yield folders with links, pipes, folders and other files in them."""
    for name in (*FILES, "manifest.json"):
        yield Mutation(f"{name} is a link", lambda f, n=name: _link(f, n, base))
        yield Mutation(f"{name} is a pipe", lambda f, n=name: (f / n).unlink() or os.mkfifo(f / n))
        yield Mutation(f"{name} is a folder", lambda f, n=name: (f / n).unlink() or (f / n).mkdir())
        yield Mutation(f"{name} is a link to nothing", lambda f, n=name: (f / n).unlink() or (f / n).symlink_to("no"))
    yield Mutation("the folder is a link", lambda f: shutil.rmtree(f) or f.symlink_to(base))
    yield Mutation("a further file", lambda f: (f / "weights.pkl").write_bytes(b"\x80\x04."))
    yield Mutation("a further folder", lambda f: (f / "more").mkdir())


def _link(folder: Path, name: str, base: Path) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(base / name)


def json_faults(base: Path) -> Iterator[Mutation]:
    """Yield faults of the manifest, the catalog and the items."""
    ids = json.loads((base / "catalog.json").read_text())
    deep = b"[" * 100_000 + b"]" * 100_000
    for name in ("catalog.json", "items.json"):
        for what, content in {"empty": b"", "deep": deep, "binary": b"\xff\xfe", "a number": b"7"}.items():
            yield Mutation(f"{name} is {what}", _put(name, content))
    for what, changed in {
        "a duplicate": [*ids[:-1], ids[0]],
        "a lone surrogate": [*ids[:-1], "\ud800"],
        "NUL": [*ids[:-1], "a\0"],
        "an empty id": [*ids[:-1], ""],
        "numbers": list(range(len(ids))),
        "one id more": [*ids, "one more"],
        "one id fewer": ids[:-1],
        "no ids": [],
    }.items():
        yield Mutation(f"catalog.json with {what}", lambda f, c=changed: _catalog(f, c))
    for what, items in {
        "a list": [],
        "a number for an item": {ids[0]: 5},
        "a nested value": {ids[0]: {"title": {"a": 1}}},
        "a lone surrogate": {ids[0]: {"title": "\ud800"}},
    }.items():
        yield Mutation(f"items.json with {what}", _put("items.json", json.dumps(items).encode()))
    yield Mutation("items.json with NaN", _put("items.json", b'{"%s": {"price": NaN}}' % ids[0].encode()))
    for what, change in {
        "a huge name": lambda m: m.update(model="x" * 1_000_000),
        "another model": lambda m: m.update(model="bpr", settings={}),
        "an ensemble": lambda m: m.update(model="+".join([m["model"]] * 2)),
        "no model": lambda m: m.update(model=""),
        "a ranker": lambda m: m.update(model="ranker"),
        "a list of settings": lambda m: m.update(settings=[1]),
        "an unknown setting": lambda m: m["settings"].update(no_such_setting=1),
        "format 99": lambda m: m.update(format=99),
        "an unknown key": lambda m: m.update(code="import os"),
        "NaN": lambda m: m["about"].update(x=float("nan")),
        "a surrogate": lambda m: m["about"].update(x="\udfff"),
        "another fingerprint": lambda m: m.update(catalog="0" * 64),
        "hashes that are numbers": lambda m: m.update(files=dict.fromkeys(FILES, 1)),
        "another file": lambda m: m["files"].update({"../../etc/passwd": "0" * 64}),
    }.items():
        yield Mutation(f"manifest with {what}", _manifest(change))
    yield Mutation("manifest of 20 MB", lambda f: (f / "manifest.json").write_bytes(b" " * 20_000_000 + b"{}"))
    yield Mutation("manifest too deep", lambda f: (f / "manifest.json").write_bytes(deep))
    yield Mutation("sizes that differ", _wrong_sizes)


def _wrong_sizes(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sizes"][WEIGHTS] += 8
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _catalog(folder: Path, ids: list[Any]) -> None:
    (folder / "catalog.json").write_text(json.dumps(ids))
    whole = all(isinstance(item, str) for item in ids) and len(set(ids)) == len(ids)
    fix(folder, lambda m: m.update(catalog=Catalog(ids).fingerprint) if whole else None)


def header_faults() -> Iterator[Mutation]:
    """Yield faults of the header of the tensors, giants among them."""
    first = lambda h: h[min(h)]  # noqa: E731
    for what, change in {
        "a gap": lambda h: first(h).update(data_offsets=[n + 8 for n in first(h)["data_offsets"]]),
        "an overlap": lambda h: first(h).update(data_offsets=[0, 8]),
        "a negative size": lambda h: first(h).update(shape=[-1]),
        "a fraction": lambda h: first(h).update(shape=[1.5]),
        "a boolean size": lambda h: first(h).update(shape=[True]),
        "an overflow": lambda h: first(h).update(shape=[2**40, 2**40]),
        "a giant": lambda h: first(h).update(shape=[2**44], data_offsets=[0, 2**46]),
        "a dtype of no model": lambda h: first(h).update(dtype="BF16"),
        "a dtype that is a list": lambda h: first(h).update(dtype=["F32"]),
        "an entry that is no object": lambda h: h.update({min(h): [1]}),
        "a further key": lambda h: first(h).update(code="x"),
        "notes": lambda h: h.update(__metadata__={"format": "np"}),
    }.items():
        yield Mutation(f"header with {what}", _header(change))
    yield Mutation("bytes behind the tensors", _header(lambda h: None, b"\0" * 16))
    for what, content in {
        "huge header": struct.pack("<Q", 2**63 - 1) + b"{}",
        "header of 90 MB": struct.pack("<Q", 90_000_000) + b" " * 90_000_000,
        "no header": b"",
        "deep header": struct.pack("<Q", 200_000) + b"[" * 100_000 + b"]" * 100_000,
        "header without tensors": struct.pack("<Q", 2) + b"{}",
    }.items():
        yield Mutation(what, _put(WEIGHTS, content))
    yield Mutation("a sparse file of 4 TB", _sparse)


def _sparse(folder: Path) -> None:
    raw = b'{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + 4_000_000_000_000)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sizes"][WEIGHTS] = 8 + len(raw) + 4_000_000_000_000
    (folder / "manifest.json").write_text(json.dumps(manifest))


def tensor_faults(base: Path, model: str) -> Iterator[Mutation]:
    """Yield faults of each tensor: missing, of another dtype or shape, NaN, infinity, indices out of range."""
    yield Mutation("no tensors", _tensors(lambda a: a.clear()))
    yield Mutation("a further tensor", _tensors(lambda a: a.update({"further": np.zeros(1, np.float32)})))
    for name, value in load_file(base / WEIGHTS).items():
        listed = find_tensor(model, name)
        assert listed is not None, name
        if name != "times" and (not name.startswith("net.") or model == "seq2seq"):  # the others do not read them
            yield Mutation(f"{name} missing", _tensors(lambda a, n=name: a.pop(n)))
        other = np.float32 if value.dtype != np.float32 else np.int32
        yield Mutation(f"{name} of another dtype", _tensors(lambda a, n=name, o=other: a.update({n: a[n].astype(o)})))
        if value.size > 1 and listed.shape != "[...]" and "*" not in listed.shape:
            yield Mutation(f"{name} flat", _tensors(lambda a, n=name: a.update({n: a[n].ravel()[:1]})))
        yield from _value_faults(name, value, listed.values)


def _value_faults(name: str, value: np.ndarray, rule: str) -> Iterator[Mutation]:
    def set_to(what: str, number: float, position: int = -1) -> Mutation:
        def change(arrays: dict[str, np.ndarray]) -> None:
            arrays[name].reshape(-1)[position] = number

        return Mutation(f"{name}: {what}", _tensors(change))

    if value.size == 0:
        return
    if value.dtype.kind == "f":
        yield set_to("NaN first", np.nan, 0)
        yield set_to("NaN last", np.nan)
        yield set_to(
            "-infinity" if rule == "finite or inf" else "infinity", -np.inf if rule == "finite or inf" else np.inf
        )
        if value.dtype == np.float32:
            yield set_to("1e38", 1e38)
    if rule.startswith(("index of", "at most", "offsets into")):
        yield set_to("too large", np.iinfo(value.dtype).max)
        if value.dtype.kind == "i":
            yield set_to("negative", -1, 0)
    if rule == "children":
        yield set_to("a cycle", 0, 0)
    if rule == "ascending" and value.size > 1:
        yield set_to("descending", np.iinfo(value.dtype).min if value.dtype.kind == "i" else -1e9)


def onnx_faults(base: Path) -> Iterator[Mutation]:
    """Yield faults of the ONNX graph of an encoder."""
    graph = load_file(base / WEIGHTS)["encoder.onnx"].tobytes()
    dim = load_file(base / WEIGHTS)["table"].shape[1]

    def put(name: str, content: bytes) -> Mutation:
        array = np.frombuffer(content, np.uint8)
        return Mutation(f"encoder.onnx {name}", _tensors(lambda a: a.update({"encoder.onnx": array})))

    def changed(change: Callable[[Any], Any]) -> bytes:
        import onnx

        model = onnx.load_from_string(graph)
        change(model)
        return bytes(model.SerializeToString())

    yield put("cut", graph[: len(graph) // 2])
    yield put("empty", b"")
    yield put("random", random.Random(0).randbytes(1000))
    yield put("with data in a file", changed(_external))
    yield put("with a loop", changed(_loop))
    yield put("with an operator of another domain", changed(lambda m: setattr(m.graph.node[0], "domain", "evil")))
    yield put("with another domain", changed(lambda m: m.opset_import.add(domain="evil", version=1)))
    yield put("with a function", changed(lambda m: m.functions.add(name="f", domain="f")))
    yield put("with a random operator", changed(lambda m: setattr(m.graph.node[0], "op_type", "RandomNormalLike")))
    yield put("with an unknown operator", changed(lambda m: setattr(m.graph.node[0], "op_type", "Nothing")))
    yield put("with NaN", changed(_nan_constant))
    yield put("that needs a terabyte", _bomb(dim, 1 << 20))
    yield put("of another width", _bomb(dim + 1, 1))


def _external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="/etc/passwd")


def _loop(model: Any) -> None:
    import onnx
    from onnx import helper

    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, [])],
        [helper.make_tensor_value_info("d", 9, [])],
    )
    model.graph.initializer.append(helper.make_tensor("trips", onnx.TensorProto.INT64, [], [2**62]))
    model.graph.initializer.append(helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True]))
    model.graph.node.insert(0, helper.make_node("Loop", ["trips", "yes"], [], body=body))


def _nan_constant(model: Any) -> None:
    tensor = next(t for t in model.graph.initializer if t.data_type == 1 and len(t.raw_data) >= 4)
    tensor.raw_data = struct.pack("<f", float("nan")) + tensor.raw_data[4:]


def last_event_graph(dim: int) -> bytes:
    """Return a sound graph that needs nothing but its inputs."""
    return _bomb(dim, 1)


def slow_graph(dim: int) -> Mutation:
    """Return the fault of a graph without a loop that multiplies large matrices for hours."""
    constants = {"shape": np.array([3000, 3000], np.int64), "tiny": np.full(1, 1e-9, np.float32)}
    constants |= {"axis": np.array([1]), "zero": np.zeros((1, dim), np.float32)}
    nodes = [Node("ReduceMax", ["vectors", "axis"], "newest", [("keepdims", 0)])]
    nodes += [Node("ReduceSum", ["newest"], "any", [("keepdims", 0)]), Node("Mul", ["any", "tiny"], "start")]
    nodes.append(Node("Expand", ["start", "shape"], "m0"))
    nodes += [Node("MatMul", [f"m{i}", "m0"], f"m{i + 1}") for i in range(20_000)]
    nodes += [Node("ReduceSum", ["m20000"], "sum", [("keepdims", 0)]), Node("Mul", ["zero", "sum"], "nothing")]
    nodes.append(Node("Add", ["newest", "nothing"], "hidden"))
    inputs = {"vectors": ("float32", ["B", "T", dim]), "last": ("int64", ["B"])}
    graph = build_graph(nodes, constants, inputs, {"hidden": ("float32", ["B", dim])})  # type: ignore[arg-type]
    array = np.frombuffer(graph, np.uint8)
    return Mutation("encoder.onnx takes long", _tensors(lambda a: a.update({"encoder.onnx": array})))


def _bomb(dim: int, rows: int) -> bytes:
    """Return a graph that returns the last embedding, after it made a matrix of ``rows`` squared."""
    constants = {"shape": np.array([rows, rows], np.int64), "one": np.ones(1, np.float32), "axis": np.array([1])}
    constants["zero"] = np.zeros((1, dim), np.float32)
    nodes = [
        Node("Expand", ["one", "shape"], "big"),
        Node("ReduceSum", ["big"], "sum", [("keepdims", 0)]),
        Node("ReduceMax", ["vectors", "axis"], "newest", [("keepdims", 0)]),
        Node("Mul", ["zero", "sum"], "nothing"),
        Node("Add", ["newest", "nothing"], "hidden"),
    ]
    inputs = {"vectors": ("float32", ["B", "T", dim]), "last": ("int64", ["B"])}
    return build_graph(nodes, constants, inputs, {"hidden": ("float32", ["B", dim])})  # type: ignore[arg-type]
