"""``python -m segue.serving.workers``: entry of a worker process, bound to its parent before anything is loaded."""

import sys

from segue.system.processes import end_with_parent

if __name__ == "__main__":
    descriptor, parent = map(int, sys.argv[1:])
    end_with_parent(parent)
    from segue.serving.workers.worker import main

    main(descriptor)
