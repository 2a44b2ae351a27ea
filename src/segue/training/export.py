"""A trained net -> its served twin: plain arrays for a recurrent net and a Seq2Seq, an ONNX graph for the rest."""

import logging
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from segue.models.feature_vectors import FeatureVectors
from segue.models.graph import GraphEncoder
from segue.models.gru4rec import GruArrays
from segue.models.neural import Encoder as Served
from segue.models.neural import NeuralScorer
from segue.models.seq2seq import Seq2SeqArrays
from segue.training.nets.encoder import Encoder
from segue.training.nets.features import FactVectors
from segue.training.nets.gru import GruEncoder
from segue.training.nets.seq2seq import Seq2SeqNet
from segue.training.nets.tied import TiedNet


def export(name: str, net: TiedNet, counts_V: np.ndarray) -> NeuralScorer:
    """The served twin; ``counts_V`` (how often each item occurs in training) answers an empty history."""
    encoder: Served
    net = net.to("cpu")
    if isinstance(net.encoder, GruEncoder):
        encoder = gru_arrays(net.encoder, net.length)
    elif isinstance(net, Seq2SeqNet):
        encoder = Seq2SeqArrays(_weights(net.encoder), net.config)
    else:
        weights = _weights(net.encoder)
        encoder = GraphEncoder(onnx_graph(net.encoder, net.dim, net.length), net.length, weights)
    start_V = np.log1p(counts_V).astype(np.float32)
    table_VD, features, contexts = net.whole().numpy().copy(), _told(net.features), _told(net.contexts)
    temperature = net.temperature
    return NeuralScorer(name, encoder, table_VD, start_V, temperature=temperature, features=features, contexts=contexts)


def _told(side: FactVectors | None) -> FeatureVectors | None:
    return None if side is None else FeatureVectors(side.encoding, side.vectors_FD.numpy().copy())


def _weights(encoder: nn.Module) -> dict[str, np.ndarray]:
    return {key: value.detach().numpy().copy() for key, value in encoder.state_dict().items()}


def gru_arrays(encoder: GruEncoder, length: int) -> GruArrays:
    """The layers' parameters under the same names."""
    layers = [
        {name: value.detach().numpy().copy() for name, value in layer.named_parameters()} for layer in encoder.layers
    ]
    return GruArrays(layers, length, encoder.cell, encoder.inputs)


class _Newest(nn.Module):
    """The encoder, and only the state of each row's newest event."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, vectors: Tensor, last: Tensor) -> Tensor:
        return self.encoder.newest(vectors, last)


def onnx_graph(encoder: Encoder, dim: int, length: int) -> bytes:
    """The graph that ``GraphEncoder`` runs, for any number of rows and up to ``length`` events."""
    model = _Newest(encoder).eval()
    example = (torch.zeros(3, min(2, length), dim), torch.zeros(3, dtype=torch.int64))
    batch, time = torch.export.Dim("batch", min=1), torch.export.Dim("time", min=1, max=max(2, length))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            example,
            input_names=["vectors", "last"],
            output_names=["hidden"],
            dynamic_shapes={"vectors": {0: batch, 1: time if length > 1 else None}, "last": {0: batch}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph: bytes = program.model_proto.SerializeToString()
    return graph
