"""GRU4Rec in plain PyTorch, as its paper and its authors' recipe describe it.

Session-parallel mini-batches of 32 sessions, one step of a GRU cell at a time, 2,048 extra negatives ~ popularity **
0.5 shared by a batch beside the targets of the batch, log-q corrected cross-entropy, Adagrad; without dropout and
momentum. Written for this comparison (the authors' own code is licensed for research only and cannot be installed
here). Prints one JSON line: events per second over the given seconds.

    python session_parallel_gru.py TRAIN.tsv SECONDS
"""

import csv
import json
import sys
import time
from collections import defaultdict

import numpy as np
import torch
from torch import nn

SESSIONS, UNITS, NEGATIVES = 32, 100, 2048


def read(path: str) -> list[list[int]]:
    """Return sessions as item numbers, in the order of their first event."""
    with open(path, encoding="utf-8") as file:
        rows = csv.reader(file, delimiter="\t")
        head = next(rows)
        session, item, timestamp = (head.index(name) for name in ("SessionId", "ItemId", "Time"))
        events_of: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for row in rows:
            events_of[row[session]].append((float(row[timestamp]), row[item]))
    numbers: dict[str, int] = {}
    sessions = sorted((sorted(events) for events in events_of.values()), key=lambda events: events[0])
    return [[numbers.setdefault(name, len(numbers)) for _, name in events] for events in sessions if len(events) > 1]


def main() -> None:
    """Train for the given seconds and print the rate."""
    sessions, seconds = read(sys.argv[1]), float(sys.argv[2])
    size = 1 + max(max(events) for events in sessions)
    counts = np.bincount([item for events in sessions for item in events], minlength=size).astype(float)
    share = torch.tensor(counts**0.5 / (counts**0.5).sum(), dtype=torch.float32)
    torch.manual_seed(0)
    table, bias, cell = nn.Embedding(size, UNITS), nn.Embedding(size, 1), nn.GRUCell(UNITS, UNITS)
    modules = nn.ModuleList([table, bias, cell])
    optimizer = torch.optim.Adagrad(modules.parameters(), lr=0.05)
    rows, position, state = list(range(SESSIONS)), [0] * SESSIONS, torch.zeros(SESSIONS, UNITS)
    next_session, num_events, total = SESSIONS, 0, 0.0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        inputs = torch.tensor([sessions[row][at] for row, at in zip(rows, position, strict=True)])
        targets = torch.tensor([sessions[row][at + 1] for row, at in zip(rows, position, strict=True)])
        candidates = torch.cat([targets, torch.multinomial(share, NEGATIVES, replacement=True)])
        state = cell(table(inputs), state.detach())
        scores = state @ table(candidates).T + bias(candidates).T - share[candidates].log()
        loss = nn.functional.cross_entropy(scores, torch.arange(SESSIONS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        num_events, total = num_events + SESSIONS, total + float(loss.detach()) * SESSIONS
        keep = torch.ones(SESSIONS, 1)
        for i in range(SESSIONS):
            position[i] += 1
            if position[i] + 1 >= len(sessions[rows[i]]):
                rows[i], position[i], next_session = next_session % len(sessions), 0, next_session + 1
                keep[i] = 0.0
        state = state.detach() * keep
    elapsed_s = time.perf_counter() - started
    print(
        json.dumps({"events_per_s": round(num_events / elapsed_s), "items": size, "loss": round(total / num_events, 3)})
    )


if __name__ == "__main__":
    main()
