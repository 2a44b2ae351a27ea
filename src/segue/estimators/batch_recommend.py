"""Batch recommendation: a list for every user of a log, written to a file block by block."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np

from segue.data.catalog import PAD
from segue.data.sequences import Sequences
from segue.estimators.ruled_lists import ListRules
from segue.estimators.trained_model import TrainedModel
from segue.workflows.event_transfer import write_stream

if TYPE_CHECKING:
    import polars as pl

    from segue.data.event_log import EventLog

BLOCK_BYTES = 64 << 20
"""Memory of the scores of one block of users."""
MAX_BLOCK = 1024
"""Largest number of users of one block, after which progress is reported."""


def recommend_all(
    model: TrainedModel,
    log: "EventLog",
    out: Path,
    *,
    k: int = 10,
    exclude_seen: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    **rules: Unpack[ListRules],
) -> int:
    """Write the k best next items of every user of a log to a file.

    The file has one row for each user and rank, sorted by user id: user_id, rank (1 is best), item_id, score. Each
    list equals that of ``TrainedModel.recommend``.

    Args:
        model: the fitted model.
        log: the users' events.
        out: the file, .parquet, .csv or .jsonl.
        k: length of each list.
        exclude_seen: see ``TrainedModel.recommend``.
        progress: called with (users done, users in all) after each block; None: no reports.
        rules: see ``TrainedModel.recommend``.

    Returns:
        Number of users.

    Raises:
        ValueError: a placement or filter for a single model, an unknown placement, or a wrong filter.
    """
    sequences, users = log.sequences(model.catalog, with_event_types=True)

    def read(rows: np.ndarray) -> BatchHistories:
        return BatchHistories(sequences.take(rows).drop_unknown())

    return recommend_users(model, users, read, out, k=k, exclude_seen=exclude_seen, progress=progress, **rules)


class BatchHistories(NamedTuple):
    """Histories of some users."""

    rows: Sequences
    """One row for each user."""
    seen: Sequences | None = None
    """The events of all types, see ``PlacementRequest.seen``; None: the histories."""


def recommend_users(
    model: TrainedModel,
    users: Sequence[str],
    read: Callable[[np.ndarray], BatchHistories],
    out: Path,
    *,
    k: int = 10,
    exclude_seen: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    **rules: Unpack[ListRules],
) -> int:
    """Write the k best next items of users to a file. See ``recommend_all``.

    Args:
        model: the fitted model.
        users: their ids.
        read: function that returns the histories of the users at some positions, int [B].
        out: see ``recommend_all``.
        k: see ``recommend_all``.
        exclude_seen: see ``recommend_all``.
        progress: see ``recommend_all``.
        rules: see ``recommend_all``.

    Returns:
        Number of users.

    Raises:
        ValueError: a placement or filter for a single model, an unknown placement, or a wrong filter.
    """
    request = model.request(exclude_seen, **rules)
    model.lists.check(request)
    block_size = max(1, min(MAX_BLOCK, BLOCK_BYTES // (4 * model.catalog.size)))
    names_V = np.array(["", *model.catalog.ids], dtype=object)

    def frames() -> "Iterator[pl.DataFrame]":
        import polars as pl

        for start in range(0, len(users), block_size):
            rows = np.arange(start, min(start + block_size, len(users)))
            histories = read(rows)
            items_BK, scores_BK = model.lists.top_k(histories.rows, k, request, histories.seen)
            user_N, rank_N = np.nonzero(items_BK != PAD)
            yield pl.DataFrame(
                {
                    "user_id": [users[start + row] for row in user_N.tolist()],
                    "rank": rank_N.astype(np.int32) + 1,
                    "item_id": names_V[items_BK[user_N, rank_N]].tolist(),
                    "score": scores_BK[user_N, rank_N],
                },
                schema=_schema(),
            )
            if progress is not None:
                progress(int(rows[-1]) + 1, len(users))

    write_stream(out, _schema(), frames)
    return len(users)


def _schema() -> dict[str, Any]:
    import polars as pl

    return {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "score": pl.Float32}
