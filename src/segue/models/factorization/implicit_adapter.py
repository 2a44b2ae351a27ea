"""Adapter of the implicit library: embeddings of users and items, with one thread, one seed, on the CPU.

Its ``recommend`` is not used: with filtered items it returns more items than requested, and item 0 as filler. Folding
in and ranking are our own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def factorize(make_model: Callable[[Any], Any], user_items: Any, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Factorize a user-item matrix with a model of the implicit library.

    Args:
        make_model: receives the package ``implicit.cpu``, returns the model to fit. It must set ``num_threads=1``: with
            more threads, the updates of BPR overwrite each other and no two fits are equal.
        user_items: scipy CSR [U, V].
        dim: width of the zeros that are returned for an empty log.

    Returns:
        (user embeddings float32 [U, E], item embeddings float32 [V, E]); the model sets E.

    Raises:
        ValueError: the library is missing, or an embedding is not finite.
    """
    cpu = _library()
    users, size = user_items.shape
    if not user_items.nnz:
        return np.zeros((users, dim), np.float32), np.zeros((size, dim), np.float32)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # BLAS threads slow the library down, and it warns
        model = make_model(cpu)
        try:
            model.fit(user_items, show_progress=False)
        except cpu.matrix_factorization_base.ModelFitError:
            raise ValueError(
                "The factorization diverged and its embeddings are not finite: "
                "raise regularization, or lower the learning rate or the confidence."
            ) from None
    return np.asarray(model.user_factors), np.asarray(model.item_factors)


def _library() -> Any:
    """Import ``implicit.cpu`` with its models."""
    try:
        import implicit.cpu.als
        import implicit.cpu.bpr
        import implicit.cpu.matrix_factorization_base
    except ImportError:
        raise ValueError("Fitting ials or bpr needs the library 'implicit': pip install 'segue[classic]'.") from None
    return implicit.cpu
