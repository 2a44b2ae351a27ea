"""One epoch of RecBole's SASRec on Amazon Beauty, run in its own virtual environment by ``speed.py``.

d64, 2 layers, 2 heads, 50 events, cross-entropy over all items, RecBole's own batch of 2,048 prefixes: prints JSON with
the epoch's seconds and the test recall@10/ndcg@10 (last event, whole catalog) after it. RecBole makes a row of every
prefix of every history; this is part of its training and of the measured time.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed


def main() -> None:
    """Train one epoch and print its result."""
    folder = Path(tempfile.mkdtemp())
    (folder / "beauty").mkdir()
    with (folder / "beauty" / "beauty.inter").open("w") as out, open(sys.argv[1], encoding="utf-8") as log:
        out.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for line in log:
            user, *items = line.split()
            out.writelines(f"{user}\t{item}\t{t}\n" for t, item in enumerate(items))
    settings = {
        "data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 50,
        "hidden_size": 64, "inner_size": 256, "n_layers": 2, "n_heads": 2, "loss_type": "CE", "epochs": 1,
        "train_neg_sample_args": None, "train_batch_size": 2048, "eval_batch_size": 512, "use_gpu": False,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "metrics": ["Recall", "NDCG"], "topk": [10], "valid_metric": "NDCG@10", "show_progress": False,
        "checkpoint_dir": str(folder), "state": "ERROR",
    }  # fmt: skip
    config = Config(model="SASRec", dataset="beauty", config_dict=settings)
    init_seed(0, True)
    dataset = create_dataset(config)
    train, _, test = data_preparation(config, dataset)
    model = SASRec(config, train.dataset)
    trainer = Trainer(config, model)
    started = time.perf_counter()
    trainer._train_epoch(train, 0)
    seconds = time.perf_counter() - started
    with torch.no_grad():
        metrics = trainer.evaluate(test, load_best_model=False)
    print(
        json.dumps({"seconds": seconds, "recall@10": float(metrics["recall@10"]), "ndcg@10": float(metrics["ndcg@10"])})
    )


if __name__ == "__main__":
    main()
