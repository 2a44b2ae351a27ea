"""A share of benchmarks/bit_rot.py: no flipped bit or truncation of a data directory changes an answer silently."""

import logging

from tests.support import bit_rot

HARMED = 60
EVENTS = 400


def test_no_damage_at_rest_changes_an_answer_silently(tmp_path):
    logging.getLogger("segue.serving").setLevel(logging.CRITICAL)
    try:
        result = bit_rot.run(tmp_path, HARMED, seed=7, count=EVENTS)
    finally:
        logging.getLogger("segue.serving").setLevel(logging.NOTSET)
    assert result["failures"] == []
    found = {kind for row in result["by_file"].values() for kind in row}
    assert found == {"right", "noticed", "refused"}, "each of them is tried"
