"""Item vectors without training: the SVD of the windowed co-occurrence's positive pointwise mutual information.

Levy & Goldberg (2014) show that this is what skip-gram with negative sampling converges to; here it takes seconds and
starts the neural models close to where they would arrive.
"""

import numpy as np

from segue.data.sequences import Sequences
from segue.models.rows import windowed_pairs

DENSE_SIZE = 300
"""Catalogues up to this size are decomposed as a whole: where nearly all singular values are asked for, the iterative
solver runs out of directions and goes on from ones that differ from call to call."""


def spectral_vectors(
    sequences: Sequences, size: int, dim: int, rng: np.random.Generator, *, window: int = 10, power: float = 0.75
) -> np.ndarray:
    """float32 [V, dim] of unit length; an item that never occurs beside another gets a small random vector.

    PPMI(i, j) = max(0, log(n_ij * sum_k n_k^power / (n_i * n_j^power))) with context smoothing ``power`` (Levy,
    Goldberg & Dagan 2015, eq. 3), factorised as U sqrt(S).
    """
    from scipy import sparse
    from scipy.sparse.linalg import svds

    forward = windowed_pairs(sequences, size, window)
    counts = (forward + forward.T).tocoo()
    mass_V = np.bincount(counts.row, weights=counts.data, minlength=size)
    context_V = mass_V**power
    with np.errstate(divide="ignore"):
        value = np.log(counts.data * context_V.sum() / (mass_V[counts.row] * context_V[counts.col]))
    keep = value > 0
    ppmi = sparse.csr_array((value[keep].astype(np.float32), (counts.row[keep], counts.col[keep])), shape=(size, size))
    rank = min(dim, size - 2)
    vectors = rng.normal(0.0, 1e-3, (size, dim)).astype(np.float32)
    if rank > 0 and ppmi.nnz:
        start = rng.normal(size=size).astype(np.float32)
        if size <= DENSE_SIZE:
            left, strength, _ = np.linalg.svd(ppmi.toarray())
        else:
            left, strength, _ = (part[..., ::-1] for part in svds(ppmi, k=rank, v0=start))
        vectors[:, :rank] += left[:, :rank] * np.sqrt(np.maximum(strength[:rank], 0.0))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
