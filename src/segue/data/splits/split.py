"""Table of the split protocols, and ``split_log``.

Events of one user are in time order, ties in file order; a case's history has all events before its target in that
order.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from segue.config.names import normalize_name
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


def check_protocol_name(protocol: str) -> str:
    """Return the name of a protocol as the table has it. ValueError for an unknown one."""
    name = normalize_name(protocol)
    if name not in PROTOCOLS:
        raise ValueError(f"There is no protocol '{protocol}'. Known protocols: {', '.join(PROTOCOLS)}.")
    return name


def excludes_seen(protocol: str) -> bool:
    """Return True for a protocol that does not rank seen items, unless an option states otherwise.

    A model that is fitted without a split recommends as an evaluation by its protocol would.
    """
    return normalize_name(protocol) in ("leave-last-out", "leave-last-n-out")


def split_log(log: "EventLog", protocol: str = "time", **options: Any) -> Split:
    """Split a log into train, validation and test by a named protocol.

    Args:
        log: events to split.
        protocol: "time", "leave-last-out", "leave-last-n-out", "sessions" or "fixed"; '_' and '-' are alike.
        options: options of the protocol's function (``time_split``, ``leave_last_out``, ``leave_last_n_out``,
            ``session_split``, ``fixed_split``), such as ``test=0.1``. "fixed" needs ``test=``, the test log.

    Returns:
        The split, with the features of the log's item table.

    Raises:
        ValueError: unknown protocol or option, or a log that the protocol cannot split.
    """
    split_by_protocol = PROTOCOLS[check_protocol_name(protocol)]
    known = [name for name in inspect.signature(split_by_protocol).parameters if name != "log"]
    for name in options:
        if name not in known:
            raise ValueError(f"Protocol {protocol} has no option '{name}'. Its options: {', '.join(known) or 'none'}.")
    if split_by_protocol is fixed_split and "test" not in options:
        raise ValueError("Protocol fixed needs test=, the test log.")
    split = split_by_protocol(log, **options)
    return replace(split, item_features=log.item_features(split.catalog))
