"""Trainings of three small nets in a process group of one or two, each process with its own report.

``python -m tests.support.distributed_training FOLDER PORT`` forks two processes after the imports, so that a process
costs no start of an interpreter. Each writes the weights and a report of every net.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tests.support import forks

from segue.data.event_contexts import EventContexts
from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.data.training_data import SideData
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.models.scorer import Scorer
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.distributed import ProcessGroup, process_group
from segue.training.trainer import Trainer

GRU4REC = GRU4RecConfig(embedding_dim=16, spectral_init=False, dropout_input=0.0, dropout_hidden=0.0)
SASREC = SASRecConfig(embedding_dim=16, max_length=8, spectral_init=False, dropout=0.0)
CASES: dict[str, tuple[Any, dict[str, object]]] = {
    "sasrec with features": (SASREC, {"loss": "full"}),
    "gru4rec, sampled": (GRU4REC, {"loss": "sampled"}),
    "gru4rec, session-parallel": (GRU4REC, {"loss": "full", "parallel_sessions": 13, "bptt_steps": 2}),
}
"""Name -> settings of the net and of its training; no dropout, which each process samples for itself."""


def train(name: str, group: ProcessGroup, folder: Path) -> None:
    """Train one net in this process; write its weights and its report to ``folder/NAME-SIZE-RANK``."""
    config, values = CASES[name]
    rng = np.random.default_rng(5)
    log = Sequences.from_lists([rng.integers(1, 60, rng.integers(2, 12)).tolist() for _ in range(90)] + [[1, 2]])
    settings: dict[str, Any] = {"epochs": 3, "batch_tokens": 128, "num_negatives": 20, "precision": "float32"}
    side_data = None
    if name == "sasrec with features":
        items = ItemFeatures([{}] + [{"kind": f"k{i % 7}"} for i in range(1, 60)], {"kind": "category"})
        features = FeatureConfig(features=("kind",), contexts=("device",), id_dropout=0.0, context_dropout=0.0)
        side_data = SideData(features, items)
        devices = ItemFeatures([{}, {"device": "a"}, {"device": "b"}], {"device": "category"})
        log = replace(log, contexts=EventContexts(rng.integers(0, 3, len(log.items)).astype(np.int32), devices))
    net = build_net(config, log, 60, 3, side_data)
    validations = 0

    def validate(scorer: Scorer) -> float:
        nonlocal validations
        validations += 1
        return 1.0 / validations

    result = Trainer(net, log, TrainingConfig(**{**settings, **values}), 3, group).run(validate)
    stem = f"{folder}/{name}-{group.size}-{group.rank}"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, f"{stem}.safetensors")
    report = {
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "losses": [round(loss, 4) for loss in result.losses],
        "validations": validations,
    }
    Path(f"{stem}.json").write_text(json.dumps(report))


def main() -> None:
    """Train all nets in two processes, as torchrun would start them."""
    torch.set_num_threads(1)
    folder, port = Path(sys.argv[1]), sys.argv[2]

    def work(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        with process_group() as group:
            for name in CASES:
                train(name, group, folder)

    children = [forks.start(lambda rank=rank: work(rank)) for rank in range(2)]  # type: ignore[misc]
    sys.exit(max(abs(forks.exit_code(child)) for child in children))


if __name__ == "__main__":
    main()
