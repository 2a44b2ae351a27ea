"""The curves: what the trainer told, readable by TensorBoard's own classes, no step twice however often it stopped."""

import builtins
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event
from tests.training.checkpoints.test_checkpoint import quality, trainer

from segue.training.checkpoints.checkpoint import Checkpoint
from segue.training.progress import Progress
from segue.training.tensorboard import last_steps, read_records, tensorboard_log
from segue.workflows.training_run import TrainingRun

Curves = dict[str, list[tuple[int, float]]]


def curves(folder: Path) -> Curves:
    """Every point of every curve, in the order in which it was written."""
    found: Curves = {}
    for path in sorted(folder.glob("events.*"), key=lambda p: (p.stat().st_mtime_ns, p.name)):
        for record in read_records(path):
            event = Event.FromString(record)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def only(folder: Path) -> Path:
    (one,) = folder.iterdir()
    return one


def test_what_the_trainer_told_is_there(tmp_path: Path) -> None:
    told: list[Progress] = []
    run = trainer()
    outcome = TrainingRun(told.append, log_dir=tmp_path).train(run, "choose", validate=quality)
    found = curves(only(tmp_path))
    assert only(tmp_path).name.startswith("choose-")
    assert [step for step, _ in found["train/loss"]] == list(range(1, len(told) + 1))
    assert [value for _, value in found["train/loss"]] == pytest.approx([p.loss for p in told])
    assert [value for _, value in found["train/events_per_s"]] == pytest.approx([p.events_per_s for p in told])
    rates = [value for _, value in found["train/learning_rate"]]
    assert 0 < min(rates) < max(rates) <= run.config.learning_rate
    batches = run.batches.num_batches
    assert [step for step, _ in found["validation/ndcg_at_10"]] == [batches * e for e in range(1, outcome.epochs + 1)]
    assert [value for _, value in found["validation/ndcg_at_10"]] == pytest.approx(outcome.validations)


def test_a_training_that_was_stopped_and_killed_goes_on_in_the_same_curves(tmp_path: Path) -> None:
    TrainingRun(log_dir=tmp_path / "whole").train(trainer(), "choose", validate=quality)
    wanted = curves(only(tmp_path / "whole"))
    stops = 0
    while True:
        run = trainer()
        checkpoint = Checkpoint(tmp_path / "run.checkpoint", every_s=1e9)
        try:
            with tensorboard_log(tmp_path / "parts", "choose", run) as track:
                assert track is not None

                late = stops % 2 == 1

                def hear(
                    progress: Progress, own: Any = track, run: Any = run, at: Checkpoint = checkpoint, late: bool = late
                ) -> None:
                    own.step(progress)
                    at.stop = run.step % 7 == 6
                    # Every other part dies three steps behind its last state, as a kill does: those steps come again.
                    if late and run.step % 7 == 4:
                        raise KeyboardInterrupt

                outcome = run.run(quality, hear, checkpoint=checkpoint)
                track.log_epoch(outcome.validations)
                break
        except KeyboardInterrupt:
            stops += 1
            for path in sorted(only(tmp_path / "parts").iterdir())[-1:]:
                path.write_bytes(path.read_bytes()[:-3])  # and tears the record it was writing
    assert stops > 2
    found = curves(only(tmp_path / "parts"))
    for tag in ("train/loss", "train/learning_rate", "validation/ndcg_at_10"):
        steps = [step for step, _ in found[tag]]
        assert len(set(steps)) == len(steps), tag
        assert set(found[tag]) <= set(wanted[tag]), tag
        assert len(wanted[tag]) - len(steps) <= stops, tag  # at most what was torn
    assert last_steps(only(tmp_path / "parts")) == last_steps(only(tmp_path / "whole"))


def test_another_training_has_curves_of_its_own(tmp_path: Path) -> None:
    TrainingRun(log_dir=tmp_path).train(trainer(), "choose")
    TrainingRun(log_dir=tmp_path).train(trainer(learning_rate=0.5), "choose")
    assert len(list(tmp_path.iterdir())) == 2


def test_without_the_library_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ValueError, match=r"^A log for TensorBoard needs tensorboardX: pip install 'segue\[track\]'\.$"):
        TrainingRun(log_dir=tmp_path).train(trainer(), "choose")
