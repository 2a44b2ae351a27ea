"""Cost estimate of a training before it starts: memory by counting arrays, seconds by timing its first steps."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

from segue.training.memory_budget import GB, table_bytes
from segue.training.trainer import Trainer

WARM_UP = 2
"""Number of steps before timing starts: the first steps also load libraries and fill caches."""


@dataclass(frozen=True)
class CostEstimate:
    """Time and memory that a training needs, and the memory that is free."""

    steps: int
    events: int
    """Number of input events per epoch."""
    events_per_s: float
    seconds: float
    """Seconds of all epochs, without validation and without early stopping."""
    table_bytes: int
    needed_bytes: int
    available_bytes: int | None
    """Bytes that the machine, or the limit of the process, still offers; None: unknown."""

    def check_memory(self) -> None:
        """Check that the needed memory is free, so that the process is not killed during the training.

        Raises:
            ValueError: more memory is needed than is free.
        """
        if self.available_bytes is not None and self.needed_bytes > self.available_bytes:
            raise ValueError(
                f"This training needs about {self.needed_bytes / GB:.1f} GB and {self.available_bytes / GB:.1f} GB are "
                "free: lower dim or batch_tokens, or leave out rare items."
            )


def needed_bytes(trainer: Trainer) -> int:
    """Return the peak memory of a training in bytes.

    It counts the item table as ``table_bytes`` does, encoder and feature embeddings likewise, and activations.
    """
    net, config = trainer.net, trainer.config
    size, columns = net.table_VD.shape
    encoder = sum(p.numel() for p in net.encoder.parameters()) * 4
    layers = max(1, sum(1 for name, _ in net.encoder.named_modules() if name.count(".") == 1))
    activations = config.step_tokens * net.dim * 4 * (12 * layers + 8)
    table = table_bytes(config, size, columns, full=trainer.objective.all_items is not None)
    features = sum(side.embeddings_FD.numel() for side in net.feature_layers.values()) * 4
    return table + 9 * encoder + 4 * features + 2 * activations


def available_bytes() -> int | None:
    """Return the free memory in bytes, within the limit of the process; None if the system does not report it."""
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")))
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            free.append(max(0, limit - used))
    except (OSError, StopIteration):
        return None
    return min(free)


def check_memory(trainer: Trainer) -> None:
    """Check that a training fits ``memory_gb`` and the free memory.

    Raises:
        ValueError: it needs more than either.
    """
    needed, free, allowed = needed_bytes(trainer), available_bytes(), trainer.config.memory_gb
    if allowed is not None and needed > allowed * GB:
        raise ValueError(
            f"This training needs about {needed / GB:.1f} GB and memory_gb allows {allowed:g}: raise it, lower dim or "
            "batch_tokens, or leave out rare items."
        )
    CostEstimate(0, 0, 0.0, 0.0, 0, needed, free).check_memory()


def estimate_cost(trainer: Trainer, *, time_s: float = 3.0) -> CostEstimate:
    """Return the cost of a training, measured on its first steps.

    Args:
        trainer: a new trainer, of no use afterwards because its weights have changed.
        time_s: seconds to spend on timed steps.

    Raises:
        ValueError: the memory does not suffice; raised before the first step.
    """
    check_memory(trainer)
    batches = trainer.batches
    needed, free = needed_bytes(trainer), available_bytes()
    table = trainer.net.table_VD.numel() * 4
    steps = batches.steps(trainer.config.epochs)
    done, spent = 0, 0.0
    for n, batch in enumerate(batches.epoch(0)):
        started = time.perf_counter()
        trainer.train_step(batch, 0.0)
        if n >= WARM_UP or batches.num_batches <= WARM_UP:
            spent += time.perf_counter() - started
            done += batch.num_events
        if spent > time_s:
            break
    rate = done / max(spent, 1e-9)
    seconds = batches.num_events * trainer.config.epochs / rate
    return CostEstimate(steps, batches.num_events, rate, seconds, table, needed, free)
