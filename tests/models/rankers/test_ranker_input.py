"""Input of a ranker, by hand."""

import numpy as np

from segue.data.impressions import ClickExamples
from segue.data.sequences import Sequences
from segue.models.rankers.item_histories import ItemHistories
from segue.models.rankers.ranker_input import encode_examples, encode_histories

SECOND = 1_000_000


def test_encoded_examples_by_hand() -> None:
    times = [[0, 1 * SECOND, 4 * SECOND], [], [2 * SECOND]]
    histories = Sequences.from_lists([[5, 0, 6], [], [7]], times)
    times_B = np.array([7, 7, 2]) * SECOND
    candidates = np.array([[7, 5], [6, 0], [7, 7]])
    examples = ClickExamples(histories, times_B, candidates, candidates == 7, np.arange(3))
    encoded = encode_examples(examples, 2, ItemHistories.from_sequences(histories, 9), 2)
    assert encoded.items_BL.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert encoded.lengths_B.tolist() == [2, 0, 1]
    # gap of 4 s (the unknown item is skipped): 1 + floor(2 log2 5) = 5; first events have no gap.
    assert encoded.gaps_BL.tolist() == [[0, 5], [0, 0], [0, 0]]
    # 7 and 3 s ago: 1 + floor(2 log2 8) = 7, 1 + floor(2 log2 4) = 5; at the query time: 1.
    assert encoded.ages_BL.tolist() == [[7, 5], [0, 0], [1, 0]]
    assert encoded.features_BX.tolist() == [[5, 4], [0, 1], [1, 3]]
    assert encoded.candidate_histories is not None
    lengths = encoded.candidate_histories.item_events.lengths_S[encoded.candidate_histories.row_BC]
    assert lengths.tolist() == [[1, 1], [1, 0], [0, 0]]  # the event of item 7 is at 2 s, not before it
    assert encoded.candidate_histories.features_BCX[0].tolist() == [[6, 6, 3], [7, 7, 3]]
    assert encoded.candidate_histories.features_BCX[2].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert encoded.candidate_histories.ages_BCM[0].tolist() == [[6, 0], [7, 0]]


def test_only_the_newest_events_are_encoded_with_the_gap_before_them() -> None:
    histories = Sequences.from_lists([[1, 2, 3]], [[0, 3 * SECOND, 3 * SECOND]])
    encoded = encode_histories(histories, np.array([3 * SECOND]), np.array([[4]]), 2)
    assert encoded.items_BL.tolist() == [[2, 3]]
    assert encoded.gaps_BL.tolist() == [[5, 1]]
    assert encoded.features_BX.tolist() == [[1, 5]]


def test_histories_without_times_have_no_gaps() -> None:
    encoded = encode_histories(Sequences.from_lists([[1, 2]]), np.array([9]), np.array([[4]]), 5)
    assert encoded.gaps_BL.tolist() == encoded.ages_BL.tolist() == [[0, 0]]
