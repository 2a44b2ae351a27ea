"""The implicit library on a lead: one thread, one seed, no graphics card, no progress bar; its vectors and no more.

Its own ``recommend`` is never called: with items filtered it returns more than it was asked for, and fills up with
item 0. Histories are folded in and ranked by this package alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def factorize(build: Callable[[Any], Any], taken: Any, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(people float32 [U, E], items float32 [V, E]) of a scipy CSR [U, V]; E is what the library makes of ``dim``.

    ``build`` gets the package ``implicit.cpu`` and returns the model to fit; it is to set ``num_threads=1``, because
    with more, BPR's threads overwrite each other's steps and no two fits are alike. An empty log has no vectors:
    zeros of [0, dim] and [V, dim]. ValueError where the library is missing or its vectors come out as no numbers.
    """
    cpu = _library()
    people, size = taken.shape
    if not taken.nnz:
        return np.zeros((people, dim), np.float32), np.zeros((size, dim), np.float32)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # a BLAS with threads of its own slows the library's down, and it warns
        model = build(cpu)
        try:
            model.fit(taken, show_progress=False)
        except cpu.matrix_factorization_base.ModelFitError:
            raise ValueError(
                "The factorization ran away and its vectors hold no numbers any more: "
                "raise regularization, or lower the learning rate or the confidence."
            ) from None
    return np.asarray(model.user_factors), np.asarray(model.item_factors)


def _library() -> Any:
    """The package ``implicit.cpu`` with its models imported."""
    try:
        import implicit.cpu.als
        import implicit.cpu.bpr
        import implicit.cpu.matrix_factorization_base
    except ImportError:
        raise ValueError("Fitting ials or bpr needs the library 'implicit': pip install 'segue[classic]'.") from None
    return implicit.cpu
