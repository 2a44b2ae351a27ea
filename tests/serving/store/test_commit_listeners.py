"""Commit listeners: each hears of every commit in its order, and the worker processes of what concerns them."""

from segue.serving.store.commit_listeners import CommitListeners


class Workers:
    """Listener for worker processes that records its calls."""

    def __init__(self, calls):
        self.calls = calls

    def on_commit(self, stored):
        self.calls.append(("workers", stored))

    def on_erase(self, keys):
        self.calls.append(("workers erase", keys))

    def on_reload(self):
        self.calls.append(("workers reload",))

    def on_catalog(self):
        self.calls.append(("workers catalog",))


KEYS = [("user_id", "ann")]


def test_a_server_of_one_process_has_no_workers():
    listeners, calls = CommitListeners(), []
    listeners.on_commit(["event"])
    listeners.on_erase(KEYS)
    listeners.on_catalog()
    listeners.set_listeners(
        [lambda stored: calls.append(("one", stored)), lambda stored: calls.append(("two", stored))]
    )
    listeners.on_commit(["event"])
    assert calls == [("one", ["event"]), ("two", ["event"])]
    listeners.set_listeners([lambda stored: calls.append(("new", stored))])
    listeners.forget = lambda keys: calls.append(("forget", keys))
    listeners.on_commit([])
    listeners.on_erase(KEYS)
    assert calls[2:] == [("new", []), ("forget", KEYS)], "a former deployment hears nothing"


def test_the_workers_hear_after_this_process():
    listeners, calls = CommitListeners(), []
    listeners.worker_listener = Workers(calls)
    listeners.forget = lambda keys: calls.append(("forget", keys))
    listeners.set_listeners([lambda stored: calls.append(("one", stored))])
    listeners.on_commit(["event"])
    listeners.on_commit([])
    listeners.on_erase(KEYS)
    listeners.on_catalog()
    assert calls == [
        ("workers reload",),
        ("one", ["event"]),
        ("workers", ["event"]),
        ("one", []),
        ("forget", KEYS),
        ("workers erase", KEYS),
        ("workers catalog",),
    ]
