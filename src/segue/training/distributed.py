"""Distributed training: several processes train one net, each on its shard of every batch, and all take the same step.

Every process holds the whole net and prepares the whole batch, both deterministic. It computes the gradient of its own
rows, and gradients are summed over processes. The sum is the gradient of the whole batch. So a group of any size takes
the steps of one process, except for rounding and for dropout, which each process samples for its own rows.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

from segue.system.threads import is_distributed_launch


class ProcessGroup:
    """Processes that train together, from the side of one of them.

    Args:
        rank: number of this process, from 0.
        size: number of processes; 1: no communication.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def is_main(self) -> bool:
        """Return True for the primary process, the one that writes files, prints and validates."""
        return self.rank == 0

    def all_reduce(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place; one message for all tensors."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Return True in every process if the flag is set in at least one."""
        if self.size == 1:
            return flag
        count = torch.tensor([float(flag)], device=_device())
        dist.all_reduce(count)
        return bool(count.item())

    def broadcast_from_main(self, evaluate: Callable[[], float]) -> float:
        """Run ``evaluate`` in the primary process and return its float64 result; the other processes wait for it."""
        if self.size == 1:
            return evaluate()
        value = torch.tensor([evaluate() if self.is_main else 0.0], dtype=torch.float64, device=_device())
        dist.broadcast(value, 0)
        return float(value)

    def barrier(self) -> None:
        """Wait until every process has called this method."""
        self.any(False)


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Yield the group that a launcher such as torchrun started this process in; without a launcher, a group of one.

    The backend is nccl between GPUs and gloo between processors.
    """
    if not is_distributed_launch():
        yield ProcessGroup()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
