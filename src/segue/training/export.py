"""Export of a trained net for serving: numpy layers for GRU4Rec and Seq2Seq, an ONNX graph for the other nets."""

import numpy as np
from torch import nn

from segue.models.neural.feature_embeddings import FeatureEmbeddings
from segue.models.neural.gru_numpy import NumpyGRU
from segue.models.neural.neural_scorer import Encoder, NeuralScorer
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
    """Return the exported model of a trained net.

    Args:
        name: name of the model.
        net: the trained net, which is moved to the CPU.
        counts_V: number of events of each item in training; log(1 + count) scores an empty history.
    """
    encoder: Encoder
    net = net.to("cpu")
    if isinstance(net.encoder, GRU4RecEncoder):
        encoder = numpy_gru(net.encoder, net.length)
    elif isinstance(net, Seq2SeqNet):
        encoder = NumpySeq2Seq(_weights(net.encoder), net.config)
    else:
        weights = _weights(net.encoder)
        encoder = OnnxEncoder(onnx_graph(net.encoder, net.dim, net.length), net.length, weights)
    start_V = np.log1p(counts_V).astype(np.float32)
    layer = net.encoder.time_embedding
    times = None if layer is None else TimeEmbedding(layer.inputs, layer.embeddings.detach().numpy().copy())
    sides = SideInformation(_feature_embeddings(net.features), _feature_embeddings(net.contexts), times)
    return NeuralScorer(
        name,
        encoder,
        net.item_embeddings().numpy().copy(),
        start_V,
        temperature=net.temperature,
        side_information=sides,
    )


def _feature_embeddings(side: FeatureEmbeddingLayer | None) -> FeatureEmbeddings | None:
    return None if side is None else FeatureEmbeddings(side.encoding, side.embeddings_FD.numpy().copy())


def _weights(encoder: nn.Module) -> dict[str, np.ndarray]:
    """Return the parameters by name, without the time embedding, which the scorer holds."""
    state = encoder.state_dict()
    return {key: value.detach().numpy().copy() for key, value in state.items() if not key.startswith("time_embedding.")}


def numpy_gru(encoder: GRU4RecEncoder, length: int) -> NumpyGRU:
    """Return the numpy model of a GRU4Rec encoder, its parameters under the same names.

    Args:
        encoder: the trained encoder on the CPU.
        length: largest number of events that it reads.
    """
    layers = [
        {name: value.detach().numpy().copy() for name, value in layer.named_parameters()} for layer in encoder.layers
    ]
    return NumpyGRU(layers, length, encoder.cell, encoder.num_input_columns)
