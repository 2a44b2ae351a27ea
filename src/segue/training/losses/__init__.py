"""Losses of a target against the negatives that all targets of a batch share, one module per family."""

from segue.training.losses.chunked import Kernel, chunked_loss
from segue.training.losses.pairwise import bpr_max, top1_max, with_elu_scores
from segue.training.losses.pointwise import bce, gbce
from segue.training.losses.softmax import softmax_loss

__all__ = ["Kernel", "bce", "bpr_max", "chunked_loss", "gbce", "softmax_loss", "top1_max", "with_elu_scores"]
