"""Settings of Seq2SeqRec."""

import pytest

from segue.models.neural.configs.seq2seq import Seq2SeqConfig


@pytest.mark.parametrize(
    ("architecture", "encoder_type", "decoder_type"),
    [
        ("gru", "gru", "gru"),
        ("transformer", "transformer", "transformer"),
        ("gru-transformer", "gru", "transformer"),
        ("transformer-gru", "transformer", "gru"),
    ],
)
def test_encoder_and_decoder_follow_from_the_architecture(architecture, encoder_type, decoder_type):
    config = Seq2SeqConfig(architecture=architecture)
    assert (config.encoder_type, config.decoder_type) == (encoder_type, decoder_type)


@pytest.mark.parametrize(("dim", "heads"), [(16, 1), (64, 2), (96, 3), (100, 2), (128, 4)])
def test_heads_follow_from_the_width(dim, heads):
    assert Seq2SeqConfig(embedding_dim=dim).num_heads == heads


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"embedding_dim": 0}, "embedding_dim must be at least 1, got 0."),
        ({"horizon": 0}, "horizon must be at least 1, got 0."),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0."),
        ({"scheduled_sampling": 1.5}, "scheduled_sampling must be in [0, 1], got 1.5."),
        ({"temperature": 0.0}, "temperature must be above 0, or none, got 0.0."),
    ],
)
def test_impossible_settings_are_refused(values, sentence):
    with pytest.raises(ValueError) as caught:
        Seq2SeqConfig(**values)
    assert str(caught.value) == sentence
