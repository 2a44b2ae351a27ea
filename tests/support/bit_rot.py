"""Bit rot in a data directory: one flipped bit or one truncation of a file, and the answers after the next start.

Two directories are harmed: one of a server that was stopped, one of a server that was killed and left its write-ahead
logs. An answer that differs from the sound directory's without a notice is a silent wrong answer.
"""

import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segue.data.erasure_list import ErasureList
from segue.serving.experiments.attribution import AttributionRecorder
from segue.serving.experiments.attribution_file import merge_log
from segue.serving.experiments.report import build_report
from segue.serving.schemas.requests import EventIn, Recommendation, RecommendResponse
from segue.serving.store.event import Event, validate_event
from segue.serving.store.event_store import AppendResult, EventStore

NOW_US = 1_800_000_000_000_000
USERS = 25
ERASED = ("user_id", "erased-user")
LOG, ATTRIBUTION, ERASURES, KEY = "events.sqlite", "attribution.sqlite", "erasures.json", "erasures.key"
STATES = {
    "stopped": (LOG, LOG + ".crc", ATTRIBUTION, ATTRIBUTION + ".crc", ERASURES, KEY),
    "killed": (LOG, LOG + "-wal", LOG + "-shm", ATTRIBUTION, ATTRIBUTION + ".crc", ATTRIBUTION + "-wal", ERASURES, KEY),
}
"""Files that are harmed after each kind of end."""


def events(count: int) -> list[Event]:
    """Return the stored events of every directory."""
    rng = random.Random(count)
    return [
        validate_event(
            EventIn(
                item_id=f"item-{rng.randrange(50)}",
                user_id=f"user-{i % USERS}" if i % 3 else None,
                session_id=f"session-{i // 4}",
                event_id=f"event-{i}",
                timestamp=1_700_000_000 + rng.randrange(10**6),
                context={"note": "x" * rng.randrange(60)},
            ),
            NOW_US,
        )
        for i in range(count)
    ]


def make(folder: Path, count: int, *, kill: bool) -> None:
    """Fill a data directory in a process of its own, which is stopped or killed.

    Args:
        folder: the directory.
        count: number of events.
        kill: end without closing a file.
    """
    program = "import sys; from pathlib import Path; from tests.support import bit_rot; "
    program += "bit_rot.fill(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == 'True')"
    subprocess.run([sys.executable, "-c", program, str(folder), str(count), str(kill)], check=True)


def fill(folder: Path, count: int, kill: bool) -> None:
    """Fill a data directory, and end this process in the middle if ``kill``."""
    folder.mkdir(parents=True)
    store, erasures = EventStore(folder / LOG), ErasureList.open(folder)
    erasures.add([ERASED], NOW_US)
    recorder = AttributionRecorder(folder / ATTRIBUTION, erasures.digest)
    all_events = events(count)
    for n, first in enumerate(range(0, count, 40)):
        store.append([all_events[first : first + 40]])
        if n == count // 80:
            store._write.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            with recorder._writing:
                merge_log(recorder.path, recorder._database)
        response = RecommendResponse(f"list-{n}", f"version-{n % 3}", [Recommendation("a", 1.0)], [], 0.1)
        recorder.record_impression(response, None, ("user_id", f"user-{n % USERS}"), None)
        recorder.flush()
    if kill:
        os._exit(0)
    recorder.close()
    store.close()


@dataclass
class Answers:
    """Answers of a data directory, and the notices about its damage."""

    histories: dict[str, list[int]]
    resent: AppendResult | None
    cells: Any
    erased: bool
    notices: list[str]


def answers(folder: Path, count: int) -> Answers:
    """Open a directory as a server does and return its answers.

    Raises:
        ValueError: a file is refused with a sentence.
    """
    store = EventStore(folder / LOG)
    try:
        histories = {
            key: [row.seq for row in store.newest(kind, key, 1000)]
            for kind, key in [("user_id", f"user-{i}") for i in range(USERS)]
            + [("session_id", f"session-{i}") for i in range(0, count // 4, 7)]
        }
        histories["all"] = [row.seq for row in store.events_after(0, 0, count + 1)]
        (resent,), _ = store.append([events(count)])
        notices = list(store.notices)
        if store.num_damaged + store.num_left_out:
            notices.append(f"{store.num_damaged + store.num_left_out} damaged rows")
    finally:
        store.close()
    erasures = ErasureList.open(folder)
    is_erased = erasures.covers("erased-user", None, NOW_US - 1) and not erasures.covers("user-1", None, NOW_US - 1)
    recorder = AttributionRecorder(folder / ATTRIBUTION, erasures.digest)
    try:
        recorder.flush()
        cells = build_report(folder / ATTRIBUTION, 36_500).cells
        notices += recorder.notices
    finally:
        recorder.close()
    return Answers(histories, resent if isinstance(resent, AppendResult) else None, cells, is_erased, notices)


def harm(path: Path, rng: random.Random, *, truncate: bool) -> str:
    """Flip one bit of a file, or cut it off; return the place."""
    raw = bytearray(path.read_bytes())
    place = rng.randrange(len(raw))
    if truncate:
        path.write_bytes(raw[:place])
        return f"{path.name} cut at {place} of {len(raw)}"
    bit = rng.randrange(8)
    raw[place] ^= 1 << bit
    path.write_bytes(raw)
    return f"{path.name} bit {bit} of byte {place} of {len(raw)}"


def outcome(folder: Path, sound: Answers, count: int) -> str:
    """Return what a harmed directory does: right, noticed, refused, SILENT or the type of an error."""
    try:
        found = answers(folder, count)
    except ValueError as error:
        is_sentence = type(error) is ValueError and str(folder) in str(error)
        return "refused" if is_sentence else f"TRACEBACK {type(error).__name__}: {error}"
    except Exception as error:
        return f"TRACEBACK {type(error).__name__}: {error}"
    if not found.erased:
        return "SILENT erasure"
    same = (found.histories, found.resent, found.cells) == (sound.histories, sound.resent, sound.cells)
    return "noticed" if found.notices else "right" if same else "SILENT"


def run(folder: Path, flips: int, *, seed: int = 0, count: int = 1200) -> dict[str, Any]:
    """Harm copies of the directories, and return the counts of outcomes by file.

    Args:
        folder: scratch folder.
        flips: number of harmed copies.
        seed: seed of the places.
        count: number of events.
    """
    rng = random.Random(seed)
    sound: dict[str, Answers] = {}
    for state in STATES:
        make(folder / state, count, kill=state == "killed")
        sound[state] = answers(Path(shutil.copytree(folder / state, folder / f"{state}-sound")), count)
        assert sound[state].erased and not sound[state].notices, sound[state].notices
    counts: dict[str, dict[str, int]] = {}
    failures = []
    choices = [(state, name) for state, names in STATES.items() for name in names]
    weights = [6 if name.startswith(LOG) else 1 for _, name in choices]
    for n in range(flips):
        state, name = rng.choices(choices, weights)[0]
        copy = Path(shutil.copytree(folder / state, folder / f"copy-{n}"))
        truncate = rng.random() < 0.15
        place = harm(copy / name, rng, truncate=truncate)
        found = outcome(copy, sound[state], count)
        shutil.rmtree(copy)
        row = counts.setdefault(f"{state} {name}{' truncated' if truncate else ''}", {})
        kind = found.split(" ")[0]
        row[kind] = row.get(kind, 0) + 1
        if kind in ("SILENT", "TRACEBACK"):
            failures.append(f"{state}, {place}: {found}")
    return {"harmed": flips, "by_file": dict(sorted(counts.items())), "failures": failures}
