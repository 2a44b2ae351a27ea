"""Several processes: the same net as one process with the same batches, and one of them that leads."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from segue.data.sequences import Sequences
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.training.build_net import build_net
from segue.training.checkpoints.checkpoint import Checkpoint
from segue.training.config import TrainingConfig
from segue.training.distributed import ProcessGroup, process_group
from segue.training.tasks import Batch, StateCarryOver
from segue.training.trainer import Trainer

CHILD = """
import sys
from dataclasses import replace
import numpy as np
import torch
from safetensors.torch import save_file
from segue.data.event_contexts import EventContexts
from segue.data.features.encoding import FeatureConfig, ItemFeatures
from segue.data.sequences import Sequences
from segue.data.training_data import SideData
from segue.models.neural.configs.gru4rec import GRU4RecConfig
from segue.models.neural.configs.sasrec import SASRecConfig
from segue.training.build_net import build_net
from segue.training.config import TrainingConfig
from segue.training.distributed import process_group
from segue.training.trainer import Trainer
torch.set_num_threads(1)
kind, loss, facts, out = sys.argv[1:5]
rng = np.random.default_rng(5)
rows = Sequences.from_lists([rng.integers(1, 60, rng.integers(2, 12)).tolist() for _ in range(90)] + [[1, 2]])
plain = GRU4RecConfig(embedding_dim=16, spectral_init=False, dropout_input=0.0, dropout_hidden=0.0)
config = {"gru4rec": plain, "session-parallel": plain,
          "sasrec": SASRecConfig(embedding_dim=16, max_length=8, spectral_init=False, dropout=0.0)}[kind]
parallel = {"parallel_sessions": 13, "bptt_steps": 2} if kind == "session-parallel" else {}
training = TrainingConfig(epochs=3, batch_tokens=128, loss=loss, num_negatives=20, precision="float32", **parallel)
said = []
def judge(scorer):
    said.append(1)
    return 1.0 / len(said)
with process_group() as team:
    known = None
    if facts == "features":
        told = ItemFeatures([{}] + [{"kind": f"k{i % 7}"} for i in range(1, 60)], {"kind": "category"})
        plain_features = FeatureConfig(features=("kind",), contexts=("device",), id_dropout=0.0, context_dropout=0.0)
        known = SideData(plain_features, told)
        places = ItemFeatures([{}, {"device": "a"}, {"device": "b"}], {"device": "category"})
        rows = replace(rows, contexts=EventContexts(rng.integers(0, 3, len(rows.items)).astype(np.int32), places))
    net = build_net(config, rows, 60, 3, known)
    outcome = Trainer(net, rows, training, 3, team).run(judge)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, f"{out}/{team.size}-{team.rank}.safetensors")
    assert len(said) == (outcome.epochs if team.is_main else 0), said
    print(outcome.best_epoch, outcome.epochs, [round(x, 4) for x in outcome.losses])
"""


def start(folder: Path, size: int, *arguments: str) -> list[str]:
    """Runs the child as a team of that size, as torchrun would; what each process printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    team = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments, str(folder)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    said = []
    for process in team:
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors[-2000:]
        said.append(output.strip().splitlines()[-1])
    return said


@pytest.mark.parametrize(
    ("kind", "loss", "facts"),
    [("sasrec", "full", "features"), ("gru4rec", "sampled", "none"), ("session-parallel", "full", "none")],
)
def test_two_processes_end_where_one_does(tmp_path: Path, kind: str, loss: str, facts: str) -> None:
    """Float32 and no dropout: all that is left is the order of sums."""
    alone = start(tmp_path, 1, kind, loss, facts)
    both = start(tmp_path, 2, kind, loss, facts)
    assert both == alone * 2
    one, first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    assert one.keys() == first.keys() == second.keys()
    for name, value in one.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=0, atol=2e-4)


def test_a_share_is_every_nth_row_and_all_shares_are_the_batch() -> None:
    inputs = np.arange(1, 11).reshape(5, 2)
    batch = Batch(inputs, inputs + 1, inputs * 100, carry=StateCarryOver(np.arange(5), np.arange(5, 0, -1)))
    shares = [batch.shard(rank, 3) for rank in range(3)]
    assert [len(share.inputs_BT) for share in shares] == [2, 2, 1]
    assert sorted(row[0] for share in shares for row in share.targets_BT.tolist()) == [2, 4, 6, 8, 10]
    assert shares[1].carry is not None
    assert (shares[1].carry.from_B.tolist(), shares[1].carry.to_B.tolist()) == ([1, 4], [4, 1])
    assert shares[2].times_BS is not None
    assert shares[2].times_BS.tolist() == [[500, 600]]
    assert sum(share.num_targets for share in shares) == batch.num_targets == 10


def test_alone_nothing_is_sent() -> None:
    with process_group() as team:
        assert (team.rank, team.size, team.is_main) == (0, 1, True)
        tensor = torch.ones(3)
        team.all_reduce([tensor])
        assert tensor.tolist() == [1.0, 1.0, 1.0]
        assert team.broadcast_from_main(lambda: 0.25) == 0.25
        assert team.any(True) is True
        assert team.any(False) is False


def test_only_rank_0_leads() -> None:
    assert [ProcessGroup(rank, 2).is_main for rank in range(2)] == [True, False]


def test_the_command_trains_in_a_team(tmp_path: Path) -> None:
    """The real launcher and the real command, with an item that only the items table has: one model is saved, the
    other process is silent, and it is close to what one process makes of the same log."""
    rng = np.random.default_rng(0)
    log = tmp_path / "log.csv"
    lines = [f"u{u},i{(s + step) % 12},{u * 100 + step}" for u in range(60) for s in [u % 12] for step in range(9)]
    log.write_text("user_id,item_id,timestamp\n" + "\n".join(rng.permutation(lines).tolist()) + "\n")
    items = tmp_path / "items.csv"
    items.write_text("item_id,kind\n" + "\n".join(f"i{i},k{i % 3}" for i in range(13)) + "\n")
    common = [
        "train",
        str(log),
        "--model",
        "sasrec",
        "--set",
        "embedding_dim=16",
        "--set",
        "epochs=4",
        "--set",
        "dropout=0.0",
    ]
    common += ["--items", str(items), "--features", "kind", "--set", "id_dropout=0.0"]
    common += ["--set", "precision=float32", "--json"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = {}
    for name, launcher in {
        "one": [sys.executable, "-m", "segue"],
        "two": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "segue"],
    }.items():
        done = subprocess.run(
            [*launcher, *common, "--out", str(tmp_path / name)], capture_output=True, text=True, env=env, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.lstrip().startswith("{")
        found[name] = load_file(tmp_path / name / "weights.safetensors")
    assert not (tmp_path / "two-training").exists()
    torch.testing.assert_close(found["two"]["table"], found["one"]["table"], rtol=0, atol=5e-3)
    assert found["two"]["features.weights"].shape == found["one"]["features.weights"].shape


class Follower(ProcessGroup):
    """A process that does not lead, without a leader: what it would tell the others is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bool] = []

    @property
    def is_main(self) -> bool:
        return False

    def any(self, flag: bool) -> bool:
        self.told.append(flag)
        return flag


def test_the_clock_of_a_process_that_does_not_write_asks_for_no_state(tmp_path: Path) -> None:
    rows = Sequences.from_lists([[1, 2, 3, 4]] * 40)
    net = build_net(GRU4RecConfig(embedding_dim=8, spectral_init=False), rows, 6, 0)
    team = Follower()
    checkpoint = Checkpoint(tmp_path / "state.checkpoint", every_s=0.0)
    Trainer(net, rows, TrainingConfig(epochs=1, batch_tokens=16), 0, team).run(checkpoint=checkpoint)
    assert len(team.told) > 5
    assert not any(team.told)
    assert not list(tmp_path.iterdir())
    checkpoint.stop = True
    net = build_net(GRU4RecConfig(embedding_dim=8, spectral_init=False), rows, 6, 0)
    with pytest.raises(KeyboardInterrupt):
        Trainer(net, rows, TrainingConfig(epochs=1, batch_tokens=16), 0, team).run(checkpoint=checkpoint)
