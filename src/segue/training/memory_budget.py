"""Memory of the item table in training, and the choice between full and sampled softmax by a memory budget."""

import math
import os
import resource
from pathlib import Path

from segue.training.config import TrainingConfig

GB = 10**9
FULL_ITEMS = 30_000
"""Largest catalog for which ``auto`` takes the full softmax, whose time per step grows with the catalog."""
STEP_COPIES = 8
"""Temporary arrays of a step, each as long as the rows used: keys, candidates, their gradients, optimizer updates."""
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def is_full(config: TrainingConfig, size: int, columns: int) -> bool:
    """Return True if the loss is the softmax over the whole catalog.

    ``auto`` is full for at most ``FULL_ITEMS`` items, if the table with all rows updated in a step fits the budget.

    Args:
        config: settings of the loss.
        size: catalog size V, PAD included.
        columns: width of the item table.
    """
    if config.loss != "auto":
        return config.loss == "full"
    return size <= FULL_ITEMS and table_bytes(config, size, columns, full=True) <= budget_bytes(config)


def table_bytes(config: TrainingConfig, size: int, columns: int, *, full: bool) -> int:
    """Return the peak memory of the item table in bytes.

    Weights, best weights and optimizer state are always held. Added is the larger of a step's temporary arrays and a
    copy of all held arrays while a checkpoint is saved.

    Args:
        config: settings of loss, batches and optimizer.
        size: catalog size V, PAD included.
        columns: width of the item table.
        full: every row is updated in a step.
    """
    states = 2 if config.optimizer == "adam" or config.momentum else 1
    kept = (2 + states) * size
    return 4 * columns * (kept + max(kept, STEP_COPIES * touched_rows(config, size, full=full)))


def touched_rows(config: TrainingConfig, size: int, *, full: bool) -> int:
    """Return the largest number of table rows that a step reads and updates: inputs, targets and negatives.

    Args:
        config: settings of batches and negatives.
        size: catalog size V, PAD included.
        full: every item is a candidate.
    """
    return size if full else min(size, 2 * config.step_tokens + config.num_negatives)


def budget_bytes(config: TrainingConfig) -> float:
    """Return the memory limit of a training in bytes: ``memory_gb``, else the memory of the machine or control group.

    Total memory counts, not free memory: a resumed training must choose the same loss. Infinite if the system reports
    no limit.
    """
    if config.memory_gb is not None:
        return config.memory_gb * GB
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), resource.getrlimit(resource.RLIMIT_AS)[0]]
    for name in CGROUP_LIMITS:
        path = Path(name)
        text = path.read_text().strip() if path.exists() else ""
        limits.append(int(text) if text.isdigit() else resource.RLIM_INFINITY)
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY and limit > 0), default=math.inf)
