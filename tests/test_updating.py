"""New events into a model: the catalogue grows, a shift is learned, and a worse model is never promoted."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import segue
from segue.data.catalog import Catalog
from segue.data.events import EventLog, read_events
from segue.data.sequences import Sequences
from segue.models import artifact
from segue.recommenders import HSTU, BERT4Rec, GRU4Rec, NextItNet, SASRec
from segue.training.grow import grow_net
from segue.updating import Widened, update

T0 = 1_700_000_000


def walk(people: range, step: int, items: int, begin: int) -> EventLog:
    """People who always go ``step`` items on, round a ring."""
    rows = [(f"u{p}", f"i{(p + s * step) % items:02d}", T0 + begin + 60 * s + p % 60) for p in people for s in range(8)]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.fixture(params=["gru4rec", "sasrec", "bert4rec", "nextitnet", "hstu"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    kind = {"gru4rec": GRU4Rec, "sasrec": SASRec, "bert4rec": BERT4Rec, "nextitnet": NextItNet, "hstu": HSTU}[
        request.param
    ]
    values = {"gru4rec": {"time_inputs": ("gap",)}, "bert4rec": {"epochs": 30}, "hstu": {"target_time": True}}
    quick = {"dim": 16, "epochs": 6, "batch_tokens": 128, "learning_rate": 0.02, "prior": 0.0}
    kind(**{**quick, **values.get(request.param, {})}).fit(walk(range(60), 1, 12, 0)).save(tmp_path / "run")
    return tmp_path / "run"


def best(run: Path, *history: str) -> str:
    return segue.load(run).recommend([list(history)], k=1)[0][0][0]


def test_new_items_and_a_new_habit_are_learned(run: Path) -> None:
    before = artifact.load(run)
    assert best(run, "i02", "i03") == "i04"
    found = update(run, walk(range(100, 900), 1, 16, 10_000), replay=walk(range(60), 1, 12, 0))
    after = artifact.load(run)
    assert found.promoted and found.after > found.before
    assert found.new_items == 4 and len(after.catalog) == 16
    assert after.about["updated_from"] == before.version and found.version == after.version
    assert best(run, "i12", "i13") == "i14"  # items nobody knew before
    assert best(run, "i02", "i03") == "i04"


def test_what_is_worse_is_not_promoted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = artifact.load(run)

    def spoil(*arguments: object) -> object:
        net = grow_net(*arguments)  # type: ignore[arg-type]
        net.table_VD.zero_()
        return net

    monkeypatch.setattr("segue.training.grow.grow_net", spoil)
    monkeypatch.setattr("segue.training.trainer.Trainer.run", lambda self: None)
    found = update(run, walk(range(300, 340), 1, 12, 10_000))
    assert not found.promoted and found.version is None and found.after < found.before
    assert artifact.load(run).version == old.version


def test_known_items_keep_their_vectors(run: Path) -> None:
    loaded = artifact.load(run)
    from segue import settings
    from segue.models.zoo import find

    config = settings.decode(find(loaded.model).config, loaded.settings)
    wider = Catalog(sorted([*loaded.catalog.ids, "aaa", "zzz"]))
    rows = Sequences.from_lists([wider.index(["i01", "zzz", "i02"]).tolist()])
    net = grow_net(loaded.arrays, config, loaded.catalog, wider, rows, 0)
    table = net.table_VD.numpy()
    np.testing.assert_array_equal(table[wider.index(loaded.catalog.ids)], loaded.arrays["table"][1:])
    near = table[wider.index(["zzz"])[0]] @ table[wider.index(["i01", "i02"])].T
    assert (near > 0).all() and not table[0].any()
    with pytest.raises(ValueError, match=r"^The new catalogue has lost item 'i00'; it may only grow\.$"):
        grow_net(loaded.arrays, config, loaded.catalog, Catalog(["i01"]), rows, 0)


def test_widened_puts_the_unknown_last() -> None:
    class Given:
        name, size = "given", 3

        def scores(self, histories: Sequences) -> np.ndarray:
            assert histories.lists() == [[2, 0]]
            return np.array([[9.0, -1.0, 4.0]], np.float32)

        def arrays(self) -> dict[str, np.ndarray]:
            return {}

    # old 1, 2 are new 1, 3; new 2 is unknown to the old model
    wide = Widened(Given(), np.array([0, 1, 0, 2], np.int32), np.array([0, 1, 3], np.int32))
    scores = wide.scores(Sequences.from_lists([[3, 2]]))
    assert scores[0, 1:].tolist() == [-1.0, -2.0, 4.0]


def test_what_cannot_be_updated_is_said(tmp_path: Path) -> None:
    log = walk(range(20), 1, 12, 0)
    segue.CoVisit().fit(log).save(tmp_path / "counted")
    with pytest.raises(ValueError, match=r"^covisit is counted, not trained: 'segue train' on the whole log takes sec"):
        update(tmp_path / "counted", log)
