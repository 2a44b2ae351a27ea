"""Settings of a training: loss, negatives, batches, optimizer. Readable without torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from segue.config.ranges import Range, check_ranges


@dataclass(frozen=True)
class LossConfig:
    """Loss function and the negatives that each target is compared with."""

    loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto"
    """Loss function. full: softmax over the catalog; sampled: softmax over sampled negatives; auto: full up to 30,000
    items if memory_gb holds it, else sampled; bce (SASRec), gbce (gSASRec), bpr-max and top1-max (GRU4Rec): as
    published, over sampled negatives."""
    num_negatives: Annotated[int, Range(ge=1)] = 2048
    """Number of negatives sampled for a batch and shared by its targets. The full softmax ignores it."""
    negative_sampling_exponent: float = 0.5
    """Exponent of the sampling distribution, q(item) ~ popularity ** exponent; 0: uniform."""
    negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity"
    """Source of negatives. popularity: sampled from q; in-batch: the targets of the batch; mixed: both."""
    logq_correction: bool = True
    """Subtract log q(item) from each sampled logit (the log-q correction, Bengio & Senecal 2008). Applies to the
    sampled softmax; bpr-max, top1-max, bce and gbce ignore it."""
    num_hardest_negatives: Annotated[int, Range(ge=0)] = 0
    """Number of highest-scoring negatives of each target that enter the loss; 0: all negatives."""
    gbce_t: Annotated[float, Range(ge=0, le=1)] = 0.75
    """Calibration t of gbce (Petrov & Macdonald 2023), from 0 (plain BCE) to 1 (probabilities as if every item were a
    negative)."""
    score_penalty: Annotated[float, Range(ge=0)] = 1.0
    """Weight of the squared scores of negatives in bpr-max."""
    elu_alpha: Annotated[float, Range(gt=0)] | None = None
    """Alpha of the ELU that bpr-max and top1-max apply to scores; 'none': scores unchanged."""
    memory_gb: Annotated[float, Range(gt=0)] | None = None
    """Memory limit of the training, in 10**9 bytes; 'none': the memory of the machine, or of its control group."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class BatchConfig:
    """Contents of a batch."""

    batch_tokens: Annotated[int, Range(ge=1)] = 4096
    """Number of events in a batch, padding included."""
    parallel_sessions: Annotated[int, Range(ge=0)] = 0
    """Number of sessions in a session-parallel batch of GRU4Rec (Hidasi et al. 2016), which takes the next event of
    each; 0: packed windows of whole histories."""
    bptt_steps: Annotated[int, Range(ge=1)] = 1
    """Number of events of each parallel session in a batch, which is the length of backpropagation through time."""
    session_order: Literal["shuffled", "time"] = "shuffled"
    """Order in which parallel sessions are started. time: by first timestamp, or the log's order without timestamps."""

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, default in (("bptt_steps", 1), ("session_order", "shuffled")):
            if not self.parallel_sessions and getattr(self, name) != default:
                raise ValueError(
                    f"{name} is for session-parallel batches: set parallel_sessions too, or leave {name} out "
                    f"({getattr(self, name)})."
                )

    @property
    def step_tokens(self) -> int:
        """Largest number of events in a batch, padding included."""
        return self.parallel_sessions * self.bptt_steps or self.batch_tokens


@dataclass(frozen=True)
class TrainingConfig(LossConfig, BatchConfig):
    """Settings of a training, those of the loss and of the batches included."""

    epochs: Annotated[int, Range(ge=1)] = 10
    """Maximum number of passes over the log."""
    optimizer: Literal["adam", "adagrad"] = "adam"
    """Optimizer. adagrad: the one GRU4Rec was published with."""
    learning_rate: Annotated[float, Range(gt=0)] = 3e-3
    """Peak learning rate; see schedule."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning-rate schedule. cosine: linear warm-up over the first twentieth of the steps, then half a cosine down
    to a twentieth of the peak."""
    momentum: Annotated[float, Range(ge=0, lt=1)] = 0.0
    """Momentum of adagrad, for the rows of the item table that a step updates."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the encoder's matrices."""
    max_grad_norm: Annotated[float, Range(gt=0)] | None = 1.0
    """Norm to which longer gradients of the encoder are clipped; 'none': no clipping."""
    patience: Annotated[int, Range(ge=1)] = 3
    """Number of epochs without a better validation after which training stops; without validation all epochs run."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the large matrix products; auto: bfloat16 if the processor has instructions for it."""

    def __post_init__(self) -> None:
        BatchConfig.__post_init__(self)
        if self.momentum and self.optimizer != "adagrad":
            raise ValueError(f"momentum is adagrad's; adam has its own, so leave momentum out (got {self.momentum}).")
