"""ONNX graph of an encoder: traced once for each architecture in a process, then filled with the weights at hand.

Tracing with ``torch.onnx.export`` costs 3 to 6 s, and its result depends on the architecture alone. The traced graph is
kept with one named initializer per parameter. Each export puts in the current weights and folds constants, which
costs 0.3 s. Both the first and every later export take this path, so that equal weights give equal bytes.
"""

import logging
import warnings
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from segue.training.nets.encoders.encoder import SequenceEncoder
from segue.training.nets.layers.basic import Dropout, DropoutRng

MAX_TRACED_GRAPHS = 32
"""Number of architectures whose traced graphs are kept, without weights: about 100 kB each."""

_traced: OrderedDict[Hashable, Any] = OrderedDict()
"""Traced graphs (``onnx.ModelProto`` without weights) by architecture, the one used last at the end."""


class _LastState(nn.Module):
    """The encoder, restricted to the hidden state after the last event of each row."""

    def __init__(self, encoder: SequenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, vectors: Tensor, last: Tensor, times: Tensor | None = None) -> Tensor:
        return self.encoder.last_state(vectors, last, times)


def onnx_graph(encoder: SequenceEncoder, dim: int, length: int) -> bytes:
    """Return the serialized graph that ``OnnxEncoder`` runs, for any number of rows.

    Args:
        encoder: a trained encoder on the CPU.
        dim: width D of an embedded event.
        length: largest number of events in a row.

    Returns:
        An ONNX model with inputs ``vectors`` float32 [B, T, D], ``last`` int64 [B] and, for an encoder that reads
        times, ``times`` int64 [B, T + 1]; output ``hidden`` float32 [B, D].
    """
    from onnxscript import optimizer

    architecture = architecture_key(encoder, dim, length)
    graph = None if architecture is None else _traced.get(architecture)
    if graph is None:
        graph = _trace(encoder, dim, length)
        if architecture is not None and _put_weights(graph, encoder):
            _remember(architecture, graph)
    else:
        _traced.move_to_end(architecture)
        graph = _copy(graph)
        _put_weights(graph, encoder)
    optimized: bytes = _without_metadata(optimizer.optimize(graph)).SerializeToString()
    return optimized


def architecture_key(encoder: SequenceEncoder, dim: int, length: int) -> Hashable | None:
    """Return a description of all that shapes the graph of an encoder: equal keys mean equal graphs but for weights.

    Dropout and the time embedding are left out, since neither is part of the graph.

    Args:
        encoder: the encoder to describe.
        dim: width of an embedded event.
        length: largest number of events in a row.

    Returns:
        A tuple of module names, classes, plain attributes and parameter shapes. None: a module has an attribute that
        cannot be compared, so that its graph must not be kept.
    """
    parts: list[Hashable] = [dim, length]
    for name, module in encoder.named_modules():
        if isinstance(module, Dropout) or name.partition(".")[0] == "time_embedding":
            continue
        settings = {key: value for key, value in vars(module).items() if not _is_irrelevant(key, value)}
        if not all(_is_plain(value) for value in settings.values()):
            return None
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        shapes = [(key, tuple(value.shape), value.dtype) for key, value in tensors]
        parts.append((name, type(module), tuple(sorted(settings.items())), tuple(shapes)))
    return tuple(parts)


def _is_irrelevant(name: str, value: object) -> bool:
    return name.startswith("_") or name in ("training", "time_embedding") or isinstance(value, DropoutRng)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, int | float | str)


def _remember(architecture: Hashable, graph: Any) -> None:
    """Keep a graph without its weights, and drop the one that was not used for the longest time."""
    graph = _copy(graph)
    for tensor in graph.graph.initializer:
        if tensor.name.startswith("encoder."):
            tensor.ClearField("raw_data")
    _traced[architecture] = graph
    while len(_traced) > MAX_TRACED_GRAPHS:
        _traced.popitem(last=False)


def _copy(graph: Any) -> Any:
    copy = type(graph)()
    copy.CopyFrom(graph)
    return copy


def _without_metadata(graph: Any) -> Any:
    """Return the graph without the exporter's notes, which name source files of this machine and fill 100 kB."""
    parts = (graph, graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output)
    for part in (*parts, *graph.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return graph


def _put_weights(graph: Any, encoder: SequenceEncoder) -> bool:
    """Set the initializers of a traced graph to the encoder's parameters; False: some parameter has none."""
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    missing = {name for name in weights if not name.startswith("encoder.time_embedding.")}
    for tensor in graph.graph.initializer:
        if tensor.name in weights:
            tensor.raw_data = weights[tensor.name].detach().contiguous().numpy().tobytes()
            missing.discard(tensor.name)
    return not missing


def _trace(encoder: SequenceEncoder, dim: int, length: int) -> Any:
    """Return the graph (``onnx.ModelProto``) before any constant is folded, parameters under their own names."""
    model = _LastState(encoder).eval()
    example = [torch.zeros(3, min(2, length), dim), torch.zeros(3, dtype=torch.int64)]
    batch, time = torch.export.Dim("batch", min=1), torch.export.Dim("time", min=1, max=max(2, length))
    grows = length > 1
    shapes = {"vectors": {0: batch, 1: time if grows else None}, "last": {0: batch}}
    if encoder.timed:
        example.append(torch.zeros(3, min(2, length) + 1, dtype=torch.int64))
        shapes["times"] = {0: batch, 1: time + 1 if grows else None}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            tuple(example),
            input_names=list(shapes),
            output_names=["hidden"],
            dynamic_shapes=tuple(shapes.values()),
            dynamo=True,
            verbose=False,
            optimize=False,
        )
    assert program is not None
    return _without_metadata(program.model_proto)
