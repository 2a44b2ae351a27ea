"""Growth of a server under ever new users, items, sessions, event types, placements and paths.

python benchmarks/growth.py [--events 1000000] [--lists 20000]: feeds a server with small caches in ten parts, and
writes the sizes after each part to benchmarks/results/growth.json. Exit code 1 where something is unbounded.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.growth import MAX_HISTORIES, MAX_LISTS, feed, growing
from tests.support.power_cut_workloads import save_models

from machine import about, save

PARTS = 10


def main() -> None:
    """Feed the server and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--events", type=int, default=1_000_000, help="events of new users; half as many of one session"
    )
    parser.add_argument("--lists", type=int, default=20_000, help="lists of new users, and as many of one user")
    options = parser.parse_args()
    states = []
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        folder = Path(name)
        save_models(folder / "models")
        with growing(folder, folder / "models" / "a") as server:
            for part in range(PARTS):
                feed(server, part * options.events // PARTS, options.events // PARTS, options.lists // PARTS)
                states.append(server.state())
                print(states[-1], file=sys.stderr, flush=True)
            server.send("GET", "/v1/admin/report")
            rows = {table: server.rows(table) for table in ("impressions", "outcomes")}
            histories = server.gauge("segue_cached_histories")
    grown_mb = round(states[-1]["memory_mb"] - states[PARTS // 2 - 1]["memory_mb"], 1)
    is_bounded = (
        grown_mb < 30
        and states[-1]["series"] <= min(500, states[PARTS // 2]["series"] + 2)
        and rows["impressions"] <= 1.2 * MAX_LISTS
        and histories <= MAX_HISTORIES
    )
    result = {
        "about": about(),
        "events": options.events,
        "lists": options.lists,
        "after_each_part": states,
        "memory_growth_of_the_second_half_mb": grown_mb,
        "attribution_rows": rows,
        "cached_histories": histories,
        "bounded": is_bounded,
    }
    save("growth", result)
    sys.exit(0 if is_bounded else 1)


if __name__ == "__main__":
    main()
