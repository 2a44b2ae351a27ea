"""How much memory the item table costs a training, and whether the full softmax fits what it may take."""

import math
import os
import resource
from pathlib import Path

from segue.training.config import TrainingConfig

GB = 10**9
FULL_ITEMS = 30_000
"""The full softmax's time grows with the catalog, the sampled one's does not: above this many, auto samples."""
STEP_COPIES = 8
"""A step's own arrays as long as the rows it touches: keys, candidates, their gradients, what the optimizer makes."""
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def is_full(config: TrainingConfig, size: int, columns: int) -> bool:
    """Whether the loss is the softmax over a whole catalog of size V.

    'auto' is: up to FULL_ITEMS items, and where the table with all its rows touched at every step fits the budget.
    """
    if config.loss != "auto":
        return config.loss == "full"
    return size <= FULL_ITEMS and table_bytes(config, size, columns, full=True) <= budget_bytes(config)


def table_bytes(config: TrainingConfig, size: int, columns: int, *, full: bool) -> int:
    """The table [V, columns] and what is as long as it, at the peak: the weights, the best ones so far and the
    optimizer's state are always there; beside them either a step's own arrays, or a copy of all while it is saved."""
    states = 2 if config.optimizer == "adam" or config.momentum else 1
    kept = (2 + states) * size
    return 4 * columns * (kept + max(kept, STEP_COPIES * touched_rows(config, size, full=full)))


def touched_rows(config: TrainingConfig, size: int, *, full: bool) -> int:
    """The most rows of the table that a step can read and write: inputs, targets, negatives."""
    return size if full else min(size, 2 * config.step_tokens + config.num_negatives)


def budget_bytes(config: TrainingConfig) -> float:
    """What the training may take: memory_gb, else what the machine has, not what it has free: the choice of the loss
    must be the same whenever the training goes on. Infinite where the system does not say."""
    if config.memory_gb is not None:
        return config.memory_gb * GB
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), resource.getrlimit(resource.RLIMIT_AS)[0]]
    for name in CGROUP_LIMITS:
        path = Path(name)
        text = path.read_text().strip() if path.exists() else ""
        limits.append(int(text) if text.isdigit() else resource.RLIM_INFINITY)
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY and limit > 0), default=math.inf)
