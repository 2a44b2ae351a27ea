"""``python -m segue.serving.workers``: entry of a worker process, bound to its parent before anything is loaded."""

import signal
import sys

from segue.system.processes import end_with_parent

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the primary process gets the signal too, and sends StopServing
    descriptor, parent = map(int, sys.argv[1:])
    end_with_parent(parent)
    from segue.serving.workers.worker import main

    main(descriptor)
