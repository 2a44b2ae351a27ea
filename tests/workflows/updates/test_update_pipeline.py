"""Update of a pipeline: networks trained on, counting sources counted on both logs, the blend as it was chosen."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import segue
from segue.data.event_log import EventLog
from segue.data.item_table import ItemTable
from segue.data.readers.events import read_events
from segue.data.readers.items import read_items
from segue.models import artifact
from segue.models.counting.markov import Markov, MarkovConfig
from segue.pipeline.config import decode_pipeline
from segue.pipeline.pipeline import Pipeline
from segue.workflows.job import TrainJob
from segue.workflows.train_pipeline import train_pipeline
from segue.workflows.update_model import check_updatable, update_model

T0 = 1_700_000_000
NETWORK = {
    "model": "gru4rec",
    "settings": {"embedding_dim": 16, "epochs": 4, "batch_tokens": 128, "learning_rate": 0.02},
}
COUNTED = ({"model": "markov"}, {"model": "popularity"})


def ring_log(users: range, items: int, begin: int, *, step: int = 1) -> EventLog:
    """Users whose next item is always ``step`` items on, round a ring."""
    rows = [
        (f"u{u}", f"i{(u + s * step) % items:02d}", T0 + begin + 60 * s + u % 60, "tv" if u % 2 else "phone")
        for u in users
        for s in range(8)
    ]
    return read_events(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "device"], orient="row"))


def both(first: EventLog, second: EventLog) -> EventLog:
    return first.with_frame(pl.concat([first.frame, second.frame]))


OLD, NEW = ring_log(range(60), 12, 0), ring_log(range(100, 400), 16, 10_000)


def table(items: int) -> ItemTable:
    """Items table with the quarter of the ring of each item."""
    rows = [(f"i{i:02d}", f"q{i % 16 // 4}") for i in range(items)]
    frame = pl.DataFrame(rows, schema=["item_id", "quarter"], orient="row")
    return read_items(frame, column_types={"quarter": "category"})


def train(folder: Path, sources: Sequence[dict[str, Any]], *, log: EventLog = OLD, **more: Any) -> Path:
    names = [source.get("name", source["model"]) for source in sources]
    weights = {name: 0.01 for name in names if name in ("popularity", "campaign")}
    blend = {"method": "weighted", "weights": weights}
    values = {"source": list(sources), "blend": blend, "rank": more.pop("rank", {"method": "none"})}
    train_pipeline(log, decode_pipeline(values), folder, TrainJob(**more))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("update") / "run", (NETWORK, *COUNTED))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A pipeline of counting sources only, which is fitted in a moment."""
    return train(tmp_path / "counted", COUNTED)


def best(run: Path, *history: str) -> str:
    return segue.load(run).recommend([list(history)], k=1)[0][0][0]


def source_of(run: Path, number: int) -> Any:
    scorer = segue.load(run).scorer
    assert isinstance(scorer, Pipeline)
    return scorer.sources[number].scorer


def test_every_source_takes_new_items_and_events(run: Path) -> None:
    before = artifact.load(run)
    check_updatable(run)
    report = update_model(run, NEW, replay=OLD)
    after = artifact.load(run)
    assert report.promoted and report.after > report.before and report.new_items == 4
    assert (after.version, after.about["updated_from"]) == (report.version, before.version)
    assert best(run, "i12", "i13") == "i14" and best(run, "i02", "i03") == "i04"
    assert report.sources == {
        "gru4rec": "trained on for 2 epochs",
        "markov": "fitted again on 2,880 events",
        "popularity": "fitted again on 2,880 events",
    }
    assert after.about["updated_sources"] == report.sources and after.about["events"] == 2880
    network = source_of(run, 0)
    place = after.catalog.to_indices(["i12", "i13", "i14"])
    history = segue.load(run).histories([["i12", "i13"]])
    assert network.scores(history)[0, 1:].argmax() + 1 == place[2]
    kept = before.catalog.to_indices(after.catalog.ids) > 0
    assert not np.array_equal(after.arrays["model.0.table"][1:][kept], before.arrays["model.0.table"][1:])


def test_counting_sources_are_those_of_a_training_on_both_logs(counted: Path) -> None:
    update_model(counted, NEW, replay=OLD)
    whole = both(OLD, NEW)
    catalog = whole.catalog()
    wanted = Markov.fit(whole.sequences(catalog)[0], catalog.size, MarkovConfig()).arrays()
    for name, array in source_of(counted, 0).arrays().items():
        np.testing.assert_array_equal(array, wanted[name])
    again = train(counted.with_name("again"), COUNTED, log=whole)
    for name in ("counts", "first", "recent", "age"):
        first, second = (artifact.load(path).arrays[f"item_statistics.{name}"] for path in (counted, again))
        np.testing.assert_array_equal(first, second)


def test_what_validation_chose_stays(counted: Path) -> None:
    before = artifact.load(counted)
    report = update_model(counted, NEW, replay=OLD)
    after = artifact.load(counted)
    for name in before.arrays:
        if name.startswith(("blend.", "scales.", "trees.", "cold_start.")):
            np.testing.assert_array_equal(after.arrays[name], before.arrays[name])
    for name in ("pipeline", "temperature", "coverage", "mixture", "temperature_without_history"):
        assert after.settings[name] == before.settings[name]
    assert after.about["notes"] == before.about["notes"]
    assert report.kept.startswith("The weights of the blend") and after.about["kept_in_update"] == report.kept


def test_without_the_older_log_an_update_is_refused_with_the_sources(counted: Path) -> None:
    version = artifact.load(counted).version
    with pytest.raises(ValueError) as error:
        update_model(counted, NEW)
    assert str(error.value) == (
        "480 of the 480 events that this pipeline was counted on are in neither log, and markov, popularity and the "
        "popularity of items would forget them: give the older log with --replay, run 'segue pipeline' on the whole "
        "log, or forget them with --allow-loss."
    )
    with pytest.raises(ValueError, match=r"^480 of the 480 events"):
        update_model(counted, NEW, replay=NEW)  # the wrong file
    assert update_model(counted, NEW, counted.with_name("other"), allow_loss=True).promoted
    assert artifact.load(counted).version == version
    assert update_model(counted, both(OLD, NEW)).promoted  # a log that holds them all needs no other


def test_a_log_without_the_events_of_erased_users_needs_no_other(counted: Path) -> None:
    whole = both(OLD, NEW)
    erased = whole.with_frame(whole.frame.filter(~pl.col("user_id").is_in(["u1", "u2", "u3"])))
    report = update_model(counted, erased)
    assert report.promoted and report.warnings[0].startswith("24 of the 480 events that this pipeline was counted on")


def test_missing_older_events_are_counted(counted: Path) -> None:
    """However many events the new log has of the same items."""
    half = OLD.with_frame(OLD.frame.filter(pl.col("user_id") < "u56"))
    assert 0 < len(OLD) - len(half) < 0.2 * len(OLD)
    report = update_model(counted, NEW, counted.with_name("half"), replay=half)
    assert report.warnings == (
        f"{480 - len(half)} of the 480 events that this pipeline was counted on are in neither log, and markov, "
        "popularity and the popularity of items would forget them.",
    )
    assert update_model(counted, NEW, counted.with_name("whole"), replay=OLD).warnings == ()
    later = update_model(counted.with_name("whole"), ring_log(range(800, 900), 16, 50_000), replay=both(half, NEW))
    assert later.warnings[0].startswith(f"{480 - len(half)} of the 2,880 events")


def test_a_worse_pipeline_is_not_promoted(counted: Path) -> None:
    """The new users walk backwards, but for the newest, who walk on as the old ones."""
    version = artifact.load(counted).version
    backwards, newest = ring_log(range(100, 400), 12, 10_000, step=11), ring_log(range(500, 560), 12, 90_000)
    report = update_model(counted, both(backwards, newest), replay=OLD)
    assert not report.promoted and report.after < report.before and report.version is None
    assert artifact.load(counted).version == version
    assert report.sources  # stated also then


def test_content_and_features_of_new_items_come_from_the_table(tmp_path: Path) -> None:
    sources = ({**NETWORK, "settings": {**NETWORK["settings"], "features": ["quarter"]}}, {"model": "content-knn"})  # type: ignore[dict-item]
    run = train(tmp_path / "run", (*sources, {"model": "markov"}), items=table(12))
    report = update_model(run, ring_log(range(100, 300), 14, 10_000), replay=OLD, items=table(16))
    assert report.promoted and report.new_items == 4  # i14 and i15 have no events
    model = segue.load(run)
    assert model.items["i15"] == {"quarter": "q3"}
    near = source_of(run, 1).scores(model.histories([["i13"]]))[0]
    assert set(model.catalog.to_ids(np.flatnonzero(near > 0.1))) == {"i12", "i14", "i15"}
    assert source_of(run, 0).size == model.catalog.size
    wrong = read_items(
        pl.DataFrame({"item_id": ["i16"], "quarter": ["some long words here"]}), column_types={"quarter": "text"}
    )
    with pytest.raises(
        ValueError, match=r"^The column 'quarter' of the items table is read as text, and the source co"
    ):
        update_model(run, NEW, replay=OLD, items=wrong)


def test_an_artifact_without_column_types_needs_the_table(tmp_path: Path) -> None:
    run = train(tmp_path / "run", ({"model": "content-knn"}, {"model": "markov"}), items=table(12))
    kept = update_model(run, NEW, tmp_path / "kept", replay=OLD)  # the features of the artifact
    assert kept.promoted and kept.sources["content-knn"] == "fitted again on 2,880 events"
    saved = artifact.load(run)
    del saved.about["item_columns"]
    artifact.save(saved, run)
    with pytest.raises(
        ValueError, match=r"^The source content-knn compares .* give the whole items table with --items"
    ):
        update_model(run, NEW, replay=OLD)
    assert update_model(run, NEW, replay=OLD, items=table(16)).promoted


def test_contexts_of_a_source_are_trained_on(tmp_path: Path) -> None:
    context = {**NETWORK, "settings": {**NETWORK["settings"], "contexts": ["device"]}}  # type: ignore[dict-item]
    run = train(tmp_path / "run", (context, {"model": "markov"}))
    before = artifact.load(run).arrays["model.0.contexts.weights"]
    assert update_model(run, NEW, replay=OLD).promoted
    assert not np.array_equal(artifact.load(run).arrays["model.0.contexts.weights"], before)
    without = NEW.with_frame(NEW.frame.drop("device"))
    with pytest.raises(ValueError, match=r"^The log has no column 'device' to take as context\."):
        update_model(run, without, replay=OLD)


def test_a_list_whose_file_is_gone_is_named_before_any_fit(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("i03\ni15\n", encoding="utf-8")
    source = {"model": "list", "name": "campaign", "settings": {"file": str(tmp_path / "list.txt")}}
    run = train(tmp_path / "run", ({"model": "markov"}, source))
    report = update_model(run, NEW, replay=OLD)
    assert report.sources["campaign"] == "list read again"
    assert segue.load(run).catalog.to_ids(source_of(run, 1).items_L) == ["i03", "i15"]  # i15 is new
    (tmp_path / "list.txt").unlink()
    with pytest.raises(ValueError, match=r"^The source campaign reads its list from .*list\.txt, which cannot be read"):
        update_model(run, NEW, replay=OLD)


def test_the_ranker_keeps_its_net_and_gets_the_new_histories(tmp_path: Path) -> None:
    rank = {"method": "none", "model": "pooled", "weight": 0.2, "settings": {"epochs": 1, "embedding_dim": 4}}
    run = train(tmp_path / "run", COUNTED, rank=rank)
    before = artifact.load(run)
    update_model(run, NEW, replay=OLD)
    after = artifact.load(run)
    assert after.settings["ranker"] == before.settings["ranker"]
    known = after.catalog.to_indices(before.catalog.ids)
    table_name = "ranker.net.reader.table"
    np.testing.assert_array_equal(after.arrays[table_name][known], before.arrays[table_name][1:])
    assert best(run, "i12", "i13") == "i14"


def test_sessions_stay_sessions(tmp_path: Path) -> None:
    """Each user has two sessions, whose events do not follow each other."""

    def sessions(log: EventLog) -> EventLog:
        late = pl.col("timestamp").rank("ordinal").over("user_id") > 4
        return log.with_frame(
            log.frame.with_columns(pl.format("{}-{}", "user_id", late.cast(pl.Int8)).alias("session_id"))
        )

    old, new = sessions(OLD), sessions(NEW)
    run = train(tmp_path / "run", COUNTED, log=old, protocol="sessions")
    update_model(run, new, replay=old)
    whole = both(old, new)
    catalog = whole.catalog()
    by_session = Markov.fit(whole.sequences(catalog, by="session")[0], catalog.size, MarkovConfig()).arrays()
    np.testing.assert_array_equal(source_of(run, 0).arrays()["values"], by_session["values"])


def test_logs_without_times_are_refused(counted: Path) -> None:
    untimed = read_events(pl.DataFrame({"user_id": ["u1", "u1"], "item_id": ["i00", "i01"]}))
    for name, logs in (("new", (untimed, OLD)), ("older", (NEW, untimed))):
        with pytest.raises(ValueError, match=rf"so the {name} log needs timestamps\.$"):
            update_model(counted, logs[0], replay=logs[1])
