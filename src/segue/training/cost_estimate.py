"""What a training will take, before it starts: memory by counting arrays, seconds by timing its first steps."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

from segue.training.memory_budget import GB, table_bytes
from segue.training.trainer import Trainer

WARM_UP = 2
"""Steps that are not timed: the first ones also load libraries and fill caches."""


@dataclass(frozen=True)
class CostEstimate:
    """A training's needs; ``available_bytes`` is what the machine, or the process's limit, still gives."""

    steps: int
    events: int
    events_per_s: float
    seconds: float
    """All epochs; validation and stopping early not counted."""
    table_bytes: int
    needed_bytes: int
    available_bytes: int | None

    def check_memory(self) -> None:
        """ValueError, with what to do, where the memory will not do: better now than a kill in the middle."""
        if self.available_bytes is not None and self.needed_bytes > self.available_bytes:
            raise ValueError(
                f"This training needs about {self.needed_bytes / GB:.1f} GB and {self.available_bytes / GB:.1f} GB are "
                "free: lower dim or batch_tokens, or leave out rare items."
            )


def needed_bytes(trainer: Trainer) -> int:
    """Memory at the peak: the table as ``table_bytes`` counts it, the encoder and facts' vectors alike, a batch's
    activations."""
    net, config = trainer.net, trainer.config
    size, columns = net.table_VD.shape
    encoder = sum(p.numel() for p in net.encoder.parameters()) * 4
    layers = max(1, sum(1 for name, _ in net.encoder.named_modules() if name.count(".") == 1))
    activations = config.step_tokens * net.dim * 4 * (12 * layers + 8)
    table = table_bytes(config, size, columns, full=trainer.objective.all_items is not None)
    facts = sum(side.vectors_FD.numel() for side in net.feature_layers.values()) * 4
    return table + 9 * encoder + 4 * facts + 2 * activations


def available_bytes() -> int | None:
    """Free memory, or what the process's own limit leaves; None where the system does not say."""
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
    """ValueError, in a sentence with what to do, where a training needs more memory than it may take or there is."""
    needed, free, allowed = needed_bytes(trainer), available_bytes(), trainer.config.memory_gb
    if allowed is not None and needed > allowed * GB:
        raise ValueError(
            f"This training needs about {needed / GB:.1f} GB and memory_gb allows {allowed:g}: raise it, lower dim or "
            "batch_tokens, or leave out rare items."
        )
    CostEstimate(0, 0, 0.0, 0.0, 0, needed, free).check_memory()


def estimate_cost(trainer: Trainer, *, time_s: float = 3.0) -> CostEstimate:
    """Runs steps for about ``time_s`` on a trainer that is thrown away afterwards. Refuses before the first of them
    where the memory will not do."""
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
