"""Several processes that train one net: each works on its share of every batch, and all take the same step.

Every process holds the whole net and prepares the whole batch (both are deterministic), computes the gradient of its
own rows, and adds it to the others'. The sum is the gradient of the whole batch, so that a team of any size follows
the path of one process, but for rounding, and for dropout, which each process draws for its own rows.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

from segue.system.threads import is_distributed_launch


class ProcessGroup:
    """Process ``rank`` of ``size``; a team of one, unless ``joined`` has been entered."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes, prints and judges."""
        return self.rank == 0

    def all_reduce(self, tensors: list[Tensor]) -> None:
        """Each tensor becomes the sum over the team, in place; one message for all of them."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process: all of them go the same way."""
        if self.size == 1:
            return flag
        raised = torch.tensor([float(flag)], device=_device())
        dist.all_reduce(raised)
        return bool(raised.item())

    def broadcast_from_main(self, judge: Callable[[], float]) -> float:
        """What the leader's ``judge`` says; the others wait for it."""
        if self.size == 1:
            return judge()
        said = torch.tensor([judge() if self.is_main else 0.0], dtype=torch.float64, device=_device())
        dist.broadcast(said, 0)
        return float(said)

    def barrier(self) -> None:
        """Waits until every process has come this far."""
        self.any(False)


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """The team that a launcher such as torchrun put this process in; a team of one without a launcher.

    nccl between GPUs, gloo between processors.
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
