"""How a net is trained: settings alone, readable without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LossConfig:
    """What is minimised, and which items each target is compared with."""

    loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto"
    """full and sampled: softmax over every item or over drawn ones; auto: full up to 30,000 items where memory_gb holds
    it, else sampled; the others, as published, over drawn ones: SASRec's, gSASRec's, GRU4Rec's."""
    num_negatives: int = 2048
    """Items drawn for a batch, and shared by its targets, when the loss is not full."""
    negative_sampling_exponent: float = 0.5
    """They are drawn ~ popularity ** this; 0: all alike."""
    negative_source: Literal["popularity", "in-batch", "mixed"] = "popularity"
    """Drawn; or the batch's own targets, and none drawn; or both."""
    logq_correction: bool = True
    """Whether the sampled softmax undoes the drawing; without that, popular items are held down."""
    num_hardest_negatives: int = 0
    """Look only at each target's n highest-scoring negatives; 0: at all of them."""
    gbce_t: float = 0.75
    """gbce's t, from 0 (plain BCE) to 1 (probabilities as if every item had been a negative)."""
    score_penalty: float = 1.0
    """Weight of the squares of the negatives' scores in bpr-max."""
    elu_alpha: float | None = None
    """bpr-max and top1-max see scores below 0 through an ELU with this alpha; 'none': as they are."""
    memory_gb: float | None = None
    """What a training may take, in 10**9 bytes; 'none': the memory of the machine, or of its control group."""

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise ValueError(f"num_negatives must be at least 1, got {self.num_negatives}.")
        if self.num_hardest_negatives < 0:
            raise ValueError(f"num_hardest_negatives must be 0 (all) or more, got {self.num_hardest_negatives}.")
        if not 0 <= self.gbce_t <= 1:
            raise ValueError(f"gbce_t must be in [0, 1], got {self.gbce_t}.")
        if self.score_penalty < 0:
            raise ValueError(f"score_penalty must not be negative, got {self.score_penalty}.")
        for name in ("elu_alpha", "memory_gb"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, or none, got {getattr(self, name)}.")


@dataclass(frozen=True)
class BatchConfig:
    """What a step learns from."""

    batch_tokens: int = 4096
    """Events in a batch, padding included."""
    parallel_sessions: int = 0
    """GRU4Rec's own batches: so many sessions run side by side, and a step takes the next event of each; 0: windows of
    whole histories, packed."""
    bptt_steps: int = 1
    """With lanes: the events of each in a step, which is as far back as a gradient goes."""
    session_order: Literal["shuffled", "time"] = "shuffled"
    """With lanes: in which order they take the sessions; time: the one that began first (the log's order without
    times)."""

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "bptt_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.parallel_sessions < 0:
            raise ValueError(f"parallel_sessions must be 0 (none) or more, got {self.parallel_sessions}.")
        for name, plain in (("bptt_steps", 1), ("session_order", "shuffled")):
            if not self.parallel_sessions and getattr(self, name) != plain:
                raise ValueError(f"{name} is for lanes: set lanes too, or leave {name} out ({getattr(self, name)}).")

    @property
    def step_tokens(self) -> int:
        """The most events of a step, padding included."""
        return self.parallel_sessions * self.bptt_steps or self.batch_tokens


@dataclass(frozen=True)
class TrainingConfig(LossConfig, BatchConfig):
    """How a net is trained: one flat set of names, those of the loss and of the batches among them."""

    epochs: int = 10
    """Passes over the log, at most."""
    optimizer: Literal["adam", "adagrad"] = "adam"
    """adagrad is what GRU4Rec was published with."""
    learning_rate: float = 3e-3
    """The highest; see schedule."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: rises over the first twentieth of the steps, then falls along a half cosine to a twentieth."""
    momentum: float = 0.0
    """adagrad's, for the item table on the rows that a step touches."""
    weight_decay: float = 0.0
    """Decoupled, on the encoder's matrices."""
    max_grad_norm: float | None = 1.0
    """Longest gradient of the encoder; longer ones are shortened to it; 'none': none is."""
    patience: int = 3
    """Epochs without a better validation before it stops; without validation every epoch is run."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the large matrix products; auto: bfloat16 where the processor multiplies it natively."""

    def __post_init__(self) -> None:
        LossConfig.__post_init__(self)
        BatchConfig.__post_init__(self)
        for name in ("epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")
        if self.momentum and self.optimizer != "adagrad":
            raise ValueError(f"momentum is adagrad's; adam has its own, so leave momentum out (got {self.momentum}).")
