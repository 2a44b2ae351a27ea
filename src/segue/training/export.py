"""A trained net -> its served twin: plain arrays for a recurrent net and a Seq2Seq, an ONNX graph for the rest."""

import numpy as np
from torch import nn

from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import Encoder as Served
from segue.models.neural.neural_scorer import NeuralScorer
from segue.models.neural.onnx_encoder import OnnxEncoder
from segue.models.neural.seq2seq_numpy import NumpySeq2Seq
from segue.models.neural.side_information import SideInformation
from segue.models.neural.time_features import TimeEmbedding
from segue.training.nets.encoders.gru4rec import GRU4RecEncoder
from segue.training.nets.encoders.seq2seq import Seq2SeqNet
from segue.training.nets.encoders.tied_embedding import TiedEmbeddingNet
from segue.training.nets.layers.feature_embedding import FeatureEmbeddingLayer
from segue.training.onnx_graph import onnx_graph


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
    return NeuralScorer(
        name,
        encoder,
        net.item_embeddings().numpy().copy(),
        start_V,
        temperature=net.temperature,
        side_information=sides,
    )


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
