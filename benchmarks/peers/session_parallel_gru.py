"""GRU4Rec the published way, in plain PyTorch: what its paper and its authors' recipe describe, and nothing clever.

Session-parallel mini-batches of 32 lanes, one step of a GRU cell at a time, 2,048 extra negatives ~ popularity ** 0.5
shared by a batch beside the batch's own targets, log-q corrected cross-entropy, Adagrad. Written anew for this
comparison (the authors' own code is licensed for research only and cannot be installed here). Prints one JSON line:
events a second over the given seconds.

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

LANES, UNITS, NEGATIVES = 32, 100, 2048


def read(path: str) -> list[list[int]]:
    """Sessions as item numbers, in the order of their first event."""
    with open(path, encoding="utf-8") as file:
        rows = csv.reader(file, delimiter="\t")
        head = next(rows)
        session, item, when = (head.index(name) for name in ("SessionId", "ItemId", "Time"))
        found: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for row in rows:
            found[row[session]].append((float(row[when]), row[item]))
    numbers: dict[str, int] = {}
    sessions = sorted((sorted(events) for events in found.values()), key=lambda events: events[0])
    return [[numbers.setdefault(name, len(numbers)) for _, name in events] for events in sessions if len(events) > 1]


def main() -> None:
    sessions, seconds = read(sys.argv[1]), float(sys.argv[2])
    size = 1 + max(max(events) for events in sessions)
    counts = np.bincount([item for events in sessions for item in events], minlength=size).astype(float)
    share = torch.tensor(counts**0.5 / (counts**0.5).sum(), dtype=torch.float32)
    torch.manual_seed(0)
    table, bias, cell = nn.Embedding(size, UNITS), nn.Embedding(size, 1), nn.GRUCell(UNITS, UNITS)
    modules = nn.ModuleList([table, bias, cell])
    optimizer = torch.optim.Adagrad(modules.parameters(), lr=0.05)
    lanes, place, state = list(range(LANES)), [0] * LANES, torch.zeros(LANES, UNITS)
    following, done, total = LANES, 0, 0.0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        inputs = torch.tensor([sessions[lane][at] for lane, at in zip(lanes, place, strict=True)])
        targets = torch.tensor([sessions[lane][at + 1] for lane, at in zip(lanes, place, strict=True)])
        candidates = torch.cat([targets, torch.multinomial(share, NEGATIVES, replacement=True)])
        state = cell(table(inputs), state.detach())
        scores = state @ table(candidates).T + bias(candidates).T - share[candidates].log()
        loss = nn.functional.cross_entropy(scores, torch.arange(LANES))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done, total = done + LANES, total + float(loss.detach()) * LANES
        keep = torch.ones(LANES, 1)
        for i in range(LANES):
            place[i] += 1
            if place[i] + 1 >= len(sessions[lanes[i]]):
                lanes[i], place[i], following = following % len(sessions), 0, following + 1
                keep[i] = 0.0
        state = state.detach() * keep
    spent = time.perf_counter() - started
    print(json.dumps({"events_per_s": round(done / spent), "items": size, "loss": round(total / done, 3)}))


if __name__ == "__main__":
    main()
