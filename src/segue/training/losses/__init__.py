"""What a training minimises, one file a family: each target against one candidate set that all targets share."""

from segue.training.losses.chunked import Kernel, chunked_loss
from segue.training.losses.pairwise import bpr_max, top1_max, with_elu_scores
from segue.training.losses.pointwise import bce, gbce
from segue.training.losses.softmax import softmax_loss

__all__ = ["Kernel", "bce", "bpr_max", "chunked_loss", "gbce", "softmax_loss", "top1_max", "with_elu_scores"]
