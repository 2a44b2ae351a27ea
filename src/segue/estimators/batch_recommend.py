"""Recommendations for everybody in a log, block by block, into a file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segue.data.catalog import PAD
from segue.estimators.trained_model import TrainedModel
from segue.models.top_k import top_k
from segue.workflows.event_transfer import write_stream

if TYPE_CHECKING:
    import polars as pl

    from segue.data.event_log import EventLog

BLOCK_BYTES = 64 << 20
"""About so many bytes of scores are held at once."""


def recommend_all(
    model: TrainedModel,
    log: "EventLog",
    out: Path,
    *,
    k: int = 10,
    exclude_seen: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """One row for each person and place of the list: user_id, rank (1 is best), item_id, score; how many people.

    People come sorted by id, and each list is what ``Fitted.recommend`` would answer. ``told`` hears (done, of all).
    """
    sequences, users = log.sequences(model.catalog)
    block_size = max(1, BLOCK_BYTES // (4 * model.catalog.size))
    names_V = np.array(["", *model.catalog.ids], dtype=object)

    def frames() -> "Iterator[pl.DataFrame]":
        import polars as pl

        for start in range(0, len(users), block_size):
            rows = np.arange(start, min(start + block_size, len(users)))
            histories = sequences.take(rows).drop_unknown()
            items_BK, scores_BK = top_k(model.scorer.scores(histories), k, exclude=histories if exclude_seen else None)
            who, place = np.nonzero(items_BK != PAD)
            yield pl.DataFrame(
                {
                    "user_id": [users[start + row] for row in who.tolist()],
                    "rank": place.astype(np.int32) + 1,
                    "item_id": names_V[items_BK[who, place]].tolist(),
                    "score": scores_BK[who, place],
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
