"""Distributed training: several processes train the same net as one process with the same batches."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.support import cli
from tests.support.distributed_training import CASES, train

from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.training.build_net import build_net
from segue.training.checkpoints.checkpoint import Checkpoint
from segue.training.config import TrainingConfig
from segue.training.distributed import ProcessGroup, process_group
from segue.training.tasks import Batch, StateCarryOver
from segue.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the weights and reports of each net, trained by one process and by two."""
    folder = tmp_path_factory.mktemp("trained")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.support.distributed_training", str(folder), str(port)]
    pair = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in CASES:
        train(name, ProcessGroup(), folder)
    torch.set_num_threads(threads)
    _, errors = pair.communicate(timeout=100)
    assert pair.returncode == 0, errors[-2000:]
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_the_net_of_one(name: str, trained: Path) -> None:
    """In float32 and without dropout only the order of sums differs. The primary process alone validates."""
    reports = [json.loads((trained / f"{name}-{run}.json").read_text()) for run in ("1-0", "2-0", "2-1")]
    assert [report.pop("validations") for report in reports] == [reports[0]["epochs"], reports[1]["epochs"], 0]
    assert reports[0] == reports[1] == reports[2]
    alone, first, second = (load_file(trained / f"{name}-{run}.safetensors") for run in ("1-0", "2-0", "2-1"))
    assert alone.keys() == first.keys() == second.keys()
    for tensor, value in alone.items():
        assert torch.equal(first[tensor], second[tensor])
        torch.testing.assert_close(first[tensor], value, rtol=0, atol=2e-4)


def test_a_shard_is_every_nth_row_and_all_shards_are_the_batch() -> None:
    inputs = np.arange(1, 11).reshape(5, 2)
    batch = Batch(inputs, inputs + 1, inputs * 100, carry=StateCarryOver(np.arange(5), np.arange(5, 0, -1)))
    shards = [batch.shard(rank, 3) for rank in range(3)]
    assert [len(shard.inputs_BT) for shard in shards] == [2, 2, 1]
    assert sorted(row[0] for shard in shards for row in shard.targets_BT.tolist()) == [2, 4, 6, 8, 10]
    assert shards[1].carry is not None
    assert (shards[1].carry.from_B.tolist(), shards[1].carry.to_B.tolist()) == ([1, 4], [4, 1])
    assert shards[2].times_BS is not None
    assert shards[2].times_BS.tolist() == [[500, 600]]
    assert sum(shard.num_targets for shard in shards) == batch.num_targets == 10


def test_a_group_of_one_sends_nothing() -> None:
    with process_group() as group:
        assert (group.rank, group.size, group.is_main) == (0, 1, True)
        tensor = torch.ones(3)
        group.all_reduce([tensor])
        assert tensor.tolist() == [1.0, 1.0, 1.0]
        assert group.broadcast_from_main(lambda: 0.25) == 0.25
        assert group.any(True) is True
        assert group.any(False) is False


def test_rank_0_is_the_primary_process() -> None:
    assert [ProcessGroup(rank, 2).is_main for rank in range(2)] == [True, False]


def test_the_command_trains_in_two_processes(tmp_path: Path) -> None:
    """The real launcher and the real command, with an item that only the items table has: one model is saved, the
    second process prints nothing, and the model is close to that of one process."""
    rng = np.random.default_rng(0)
    log = tmp_path / "log.csv"
    lines = [f"u{u},i{(s + step) % 12},{u * 100 + step}" for u in range(60) for s in [u % 12] for step in range(9)]
    log.write_text("user_id,item_id,timestamp\n" + "\n".join(rng.permutation(lines).tolist()) + "\n")
    items = tmp_path / "items.csv"
    items.write_text("item_id,kind\n" + "\n".join(f"i{i},k{i % 3}" for i in range(13)) + "\n")
    values = ["embedding_dim=16", "epochs=4", "dropout_input=0.0", "dropout_hidden=0.0", "id_dropout=0.0"]
    common = ["train", str(log), "--model", "gru4rec", "--items", str(items), "--features", "kind", "--json"]
    common += [part for value in [*values, "precision=float32"] for part in ("--set", value)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "segue"]
    pair = subprocess.Popen(
        [sys.executable, *launcher, *common, "--out", str(tmp_path / "two")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    alone = cli.run(*common, "--out", tmp_path / "one")
    output, errors = pair.communicate(timeout=200)
    assert pair.returncode == 0, errors[-2000:]
    assert json.loads(output).keys() == json.loads(alone.stdout).keys()
    weights = {name: load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two")}
    assert not (tmp_path / "two-training").exists()
    torch.testing.assert_close(weights["two"]["table"], weights["one"]["table"], rtol=0, atol=5e-3)
    assert weights["two"]["features.weights"].shape == weights["one"]["features.weights"].shape


class SecondProcess(ProcessGroup):
    """A process beside the primary one, without communication; the flags it would send are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bool] = []

    @property
    def is_main(self) -> bool:
        return False

    def any(self, flag: bool) -> bool:
        self.sent.append(flag)
        return flag


def test_the_clock_of_a_second_process_requests_no_save(tmp_path: Path) -> None:
    log = Sequences.from_lists([[1, 2, 3, 4]] * 40)
    net = build_net(GRU4RecConfig(embedding_dim=8, spectral_init=False), log, 6, 0)
    group = SecondProcess()
    checkpoint = Checkpoint(tmp_path / "state.checkpoint", every_s=0.0)
    Trainer(net, log, TrainingConfig(epochs=1, batch_tokens=16), 0, group).run(checkpoint=checkpoint)
    assert len(group.sent) > 5
    assert not any(group.sent)
    assert not list(tmp_path.iterdir())
    checkpoint.stop = True
    net = build_net(GRU4RecConfig(embedding_dim=8, spectral_init=False), log, 6, 0)
    with pytest.raises(KeyboardInterrupt):
        Trainer(net, log, TrainingConfig(epochs=1, batch_tokens=16), 0, group).run(checkpoint=checkpoint)
