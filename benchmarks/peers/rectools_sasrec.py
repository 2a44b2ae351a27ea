"""One epoch of RecTools' SASRec on Amazon Beauty, run in its own virtual environment by ``speed.py``.

d64, 2 blocks, 2 heads, 50 events, full softmax, batches of 128: prints JSON with the epoch's seconds, and the test
recall@10/ndcg@10 (last event, seen items excluded, whole catalog) after it.
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")


def rows(path: str) -> list[list[str]]:
    """Return the lines of the log: user, item, item ..."""
    with open(path, encoding="utf-8") as file:
        return [line.split() for line in file]


def main() -> None:
    """Train one epoch and print its result."""
    sequences = rows(sys.argv[1])
    events = [(row[0], item, t) for row in sequences for t, item in enumerate(row[1:-2])]
    frame = pd.DataFrame(events, columns=[Columns.User, Columns.Item, Columns.Datetime])
    frame[Columns.Datetime] = pd.to_datetime(frame[Columns.Datetime], unit="D")
    frame[Columns.Weight] = 1.0
    dataset = Dataset.construct(frame)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
        )

    model = SASRecModel(
        n_factors=64, n_blocks=2, n_heads=2, session_max_len=50, loss="softmax", batch_size=128, epochs=1, lr=0.001,
        get_trainer_func=trainer, recommend_batch_size=256,
    )  # fmt: skip
    started = time.perf_counter()
    model.fit(dataset)
    seconds = time.perf_counter() - started
    # Test histories have the validation item; RecTools takes them from a dataset with the model's own item map.
    known = set(frame[Columns.Item])
    validation = [(row[0], row[-2], len(row)) for row in sequences if row[-2] in known]
    more = pd.DataFrame(validation, columns=[Columns.User, Columns.Item, Columns.Datetime])
    more[Columns.Datetime] = pd.to_datetime(more[Columns.Datetime], unit="D")
    more[Columns.Weight] = 1.0
    history = Dataset.construct(pd.concat([frame, more]))
    users = np.array([row[0] for row in sequences])
    lists = model.recommend(users=users, dataset=history, k=10, filter_viewed=True)
    target = {row[0]: row[-1] for row in sequences}
    hits = lists[lists[Columns.Item] == lists[Columns.User].map(target)]
    ndcg = (1 / np.log2(hits[Columns.Rank] + 1)).sum() / len(sequences)
    print(json.dumps({"seconds": seconds, "recall@10": len(hits) / len(sequences), "ndcg@10": float(ndcg)}))


if __name__ == "__main__":
    main()
