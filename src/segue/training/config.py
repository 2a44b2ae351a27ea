"""How a net is trained: settings alone, readable without torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LossConfig:
    """What is minimised, and which items each target is compared with."""

    loss: Literal["auto", "full", "sampled", "bce", "gbce", "bpr-max", "top1-max"] = "auto"
    """full and sampled: softmax over every item or over drawn ones; auto: full up to 30,000 items where memory_gb holds
    it, else sampled; the others, as published, over drawn ones: SASRec's, gSASRec's, GRU4Rec's."""
    negatives: int = 2048
    """Items drawn for a batch, and shared by its targets, when the loss is not full."""
    negative_power: float = 0.5
    """They are drawn ~ popularity ** this; 0: all alike."""
    negatives_from: Literal["popularity", "in-batch", "mixed"] = "popularity"
    """Drawn; or the batch's own targets, and none drawn; or both."""
    log_q: bool = True
    """Whether the sampled softmax undoes the drawing; without that, popular items are held down."""
    hardest: int = 0
    """Look only at each target's n highest-scoring negatives; 0: at all of them."""
    calibration: float = 0.75
    """gbce's t, from 0 (plain BCE) to 1 (probabilities as if every item had been a negative)."""
    score_penalty: float = 1.0
    """Weight of the squares of the negatives' scores in bpr-max."""
    elu: float | None = None
    """bpr-max and top1-max see scores below 0 through an ELU with this alpha; 'none': as they are."""
    memory_gb: float | None = None
    """What a training may take, in 10**9 bytes; 'none': the memory of the machine, or of its control group."""

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise ValueError(f"negatives must be at least 1, got {self.negatives}.")
        if self.hardest < 0:
            raise ValueError(f"hardest must be 0 (all) or more, got {self.hardest}.")
        if not 0 <= self.calibration <= 1:
            raise ValueError(f"calibration must be in [0, 1], got {self.calibration}.")
        if self.score_penalty < 0:
            raise ValueError(f"score_penalty must not be negative, got {self.score_penalty}.")
        for name in ("elu", "memory_gb"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, or none, got {getattr(self, name)}.")


@dataclass(frozen=True)
class BatchConfig:
    """What a step learns from."""

    batch_tokens: int = 4096
    """Events in a batch, padding included."""
    lanes: int = 0
    """GRU4Rec's own batches: so many sessions run side by side, and a step takes the next event of each; 0: windows of
    whole histories, packed."""
    bptt: int = 1
    """With lanes: the events of each in a step, which is as far back as a gradient goes."""
    session_order: Literal["shuffled", "time"] = "shuffled"
    """With lanes: in which order they take the sessions; time: the one that began first (the log's order without
    times)."""

    def __post_init__(self) -> None:
        for name in ("batch_tokens", "bptt"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.lanes < 0:
            raise ValueError(f"lanes must be 0 (none) or more, got {self.lanes}.")
        for name, plain in (("bptt", 1), ("session_order", "shuffled")):
            if not self.lanes and getattr(self, name) != plain:
                raise ValueError(f"{name} is for lanes: set lanes too, or leave {name} out ({getattr(self, name)}).")

    @property
    def step_tokens(self) -> int:
        """The most events of a step, padding included."""
        return self.lanes * self.bptt or self.batch_tokens


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
    clip: float | None = 1.0
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
        for name in ("learning_rate", "clip"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}.")
        if self.momentum and self.optimizer != "adagrad":
            raise ValueError(f"momentum is adagrad's; adam has its own, so leave momentum out (got {self.momentum}).")
