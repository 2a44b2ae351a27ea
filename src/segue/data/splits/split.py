"""The one table of protocols: name -> how a log is cut into what trains, what chooses settings, and what judges.

Events of one person are in time order, ties in file order; a case knows everything before its target in that order.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from segue.data.evaluation_cases import Split
from segue.data.splits.leave_n_out import leave_last_n_out
from segue.data.splits.leave_one_out import leave_last_out
from segue.data.splits.session import fixed_split, session_split
from segue.data.splits.temporal import time_split

if TYPE_CHECKING:
    from segue.data.event_log import EventLog

PROTOCOLS: dict[str, Callable[..., Split]] = {
    "time": time_split,
    "leave-last-out": leave_last_out,
    "leave-last-n-out": leave_last_n_out,
    "sessions": session_split,
    "fixed": fixed_split,
}


def split_log(log: "EventLog", protocol: str = "time", **options: Any) -> Split:
    """Cuts a log by a protocol's name, '_' and '-' alike; the options are those of its function, which has the
    picture. ValueError for an unknown name or option."""
    cut = PROTOCOLS.get(protocol.replace("_", "-").lower())
    if cut is None:
        raise ValueError(f"There is no protocol '{protocol}'. Known protocols: {', '.join(PROTOCOLS)}.")
    known = [name for name in inspect.signature(cut).parameters if name != "log"]
    for name in options:
        if name not in known:
            raise ValueError(f"Protocol {protocol} has no option '{name}'. Its options: {', '.join(known) or 'none'}.")
    if cut is fixed_split and "test" not in options:
        raise ValueError("Protocol fixed needs test=, the log that judges.")
    done = cut(log, **options)
    return replace(done, item_features=log.item_features(done.catalog))
