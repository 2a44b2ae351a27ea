"""Measurements of the pipeline: `python benchmarks/pipeline.py [PART ...]`, by default every part.

Each part is a module with a ``run(seed)``; its result goes to benchmarks/results/pipeline-PART.json.
"""

import sys
from collections.abc import Callable
from typing import Any

import pipeline_diversity
import pipeline_off_policy
import pipeline_rules
from machine import about, save

PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "rules": pipeline_rules.run,
    "diversity": pipeline_diversity.run,
    "off-policy": pipeline_off_policy.run,
}
SEED = 0


def main(parts: list[str]) -> None:
    """Run parts. Raises ValueError for an unknown one."""
    for part in parts or PARTS:
        if part not in PARTS:
            raise ValueError(f"There is no part '{part}'; the parts are {', '.join(PARTS)}.")
        save(f"pipeline-{part}", {"about": about(SEED), "task": PARTS[part].__module__, **PARTS[part](SEED)})


if __name__ == "__main__":
    main(sys.argv[1:])
