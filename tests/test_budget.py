"""The budget of test files: a slow file is named, a part of the suite has no budget."""

from collections import Counter

from tests.conftest import WHOLE_RUN_FILES, over_budget


def test_a_file_that_grows_too_slow_is_named() -> None:
    seconds = Counter({f"tests/test_{n}.py": 1.0 for n in range(WHOLE_RUN_FILES)})
    assert over_budget(seconds) == []
    seconds["tests/test_7.py"] = 30.0
    assert over_budget(seconds) == [
        "tests/test_7.py takes 30 s, 20% of the run; at most 12% is allowed: share what it trains, or make it smaller."
    ]
    assert over_budget(Counter({"tests/test_7.py": 30.0})) == []
