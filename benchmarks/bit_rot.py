"""Bit rot in a server's data directory: flipped bits and truncations of every file, and the answers afterwards.

    python benchmarks/bit_rot.py [--harmed 2000] [--seed 0]

Writes benchmarks/results/bit-rot.json. A silent wrong answer or an error without a sentence ends with exit code 1.
About 40 ms for each harmed copy on an idle core.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support import bit_rot

from machine import about, save


def main() -> int:
    """Harm the copies, write the result and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harmed", type=int, default=2000, help="number of harmed copies")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("segue.serving").setLevel(logging.CRITICAL)  # a line for each damage, which is counted anyway
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        result = bit_rot.run(Path(folder), options.harmed, seed=options.seed)
    totals: dict[str, int] = {}
    for row in result["by_file"].values():
        for kind, count in row.items():
            totals[kind] = totals.get(kind, 0) + count
    save("bit-rot", {"about": about(options.seed), "totals": totals, **result})
    print(totals)
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
