"""A trained net -> its served twin: plain arrays for a recurrent net and a Seq2Seq, an ONNX graph for the rest."""

import logging
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import Encoder as Served
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.neural.onnx_encoder import OnnxEncoder
from segue.models.neural.seq2seq_numpy import NumpySeq2Seq
from segue.models.neural.side_information import SideInformation
from segue.models.neural.time_features import TimeEmbedding
from segue.training.nets.encoders.encoder import SequenceEncoder
from segue.training.nets.encoders.gru4rec import GRU4RecEncoder
from segue.training.nets.encoders.seq2seq import Seq2SeqNet
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet
from segue.training.nets.layers.feature_embedding import FeatureEmbeddingLayer


def export_scorer(name: str, net: TiedEmbeddingNet, counts_V: np.ndarray) -> NeuralScorer:
    """The served twin; ``counts_V`` (how often each item occurs in training) answers an empty history."""
    encoder: Served
    net = net.to("cpu")
    if isinstance(net.encoder, GRU4RecEncoder):
        encoder = numpy_gru(net.encoder, net.length)
    elif isinstance(net, Seq2SeqNet):
        encoder = NumpySeq2Seq(_weights(net.encoder), net.config)
    else:
        weights = _weights(net.encoder)
        encoder = OnnxEncoder(onnx_graph(net.encoder, net.dim, net.length), net.length, weights)
    start_V = np.log1p(counts_V).astype(np.float32)
    clock = net.encoder.clock
    times = None if clock is None else TimeEmbedding(clock.inputs, clock.vectors.detach().numpy().copy())
    sides = SideInformation(_told(net.features), _told(net.contexts), times)
    return NeuralScorer(name, encoder, net.whole().numpy().copy(), start_V, temperature=net.temperature, sides=sides)


def _told(side: FeatureEmbeddingLayer | None) -> FeatureEmbeddings | None:
    return None if side is None else FeatureEmbeddings(side.encoding, side.vectors_FD.numpy().copy())


def _weights(encoder: nn.Module) -> dict[str, np.ndarray]:
    """Every parameter but the vectors of times, which the scorer has."""
    state = encoder.state_dict()
    return {key: value.detach().numpy().copy() for key, value in state.items() if not key.startswith("clock.")}


def numpy_gru(encoder: GRU4RecEncoder, length: int) -> NumpyGRU:
    """The layers' parameters under the same names."""
    layers = [
        {name: value.detach().numpy().copy() for name, value in layer.named_parameters()} for layer in encoder.layers
    ]
    return NumpyGRU(layers, length, encoder.cell, encoder.num_input_columns)


class _Newest(nn.Module):
    """The encoder, and only the state of each row's newest event."""

    def __init__(self, encoder: SequenceEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, vectors: Tensor, last: Tensor, times: Tensor | None = None) -> Tensor:
        return self.encoder.newest(vectors, last, times)


def onnx_graph(encoder: SequenceEncoder, dim: int, length: int) -> bytes:
    """The graph that ``GraphEncoder`` runs, for any number of rows and up to ``length`` events."""
    model = _Newest(encoder).eval()
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
        )
    assert program is not None
    graph: bytes = program.model_proto.SerializeToString()
    return graph
