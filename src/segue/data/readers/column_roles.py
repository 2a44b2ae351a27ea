"""Which column is the person, the item, the time: guessed from names people use, and every guess is told."""

import re
from collections.abc import Iterable, Mapping

from segue.data.read_report import shorten_list

KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "user_id": (
        *("userid", "user", "uid", "customerid", "customer", "visitorid", "visitor", "memberid", "member"),
        *("personid", "person", "clientid", "accountid", "account", "reviewerid", "profileid"),
    ),
    "item_id": (
        *("itemid", "item", "iid", "productid", "product", "movieid", "movie", "stockcode", "sku", "articleid"),
        *("article", "asin", "trackid", "track", "songid", "bookid", "newsid", "videoid", "contentid", "reference"),
    ),
    "timestamp": (
        *("timestamp", "time", "ts", "datetime", "date", "eventtime", "createdat", "invoicedate", "unixtime"),
        *("unixreviewtime", "occurredat", "when"),
    ),
    "session_id": ("sessionid", "session", "sid", "basketid", "basket", "visitid", "invoiceno", "orderid"),
    "event": ("event", "eventtype", "type", "action", "actiontype", "behavior", "behavior", "interaction"),
    "value": ("value", "rating", "score", "stars"),
}
"""Our name -> spellings, without case and punctuation, the likeliest first."""


def assign_column_roles(found: Iterable[str], wanted: Mapping[str, str] | None) -> tuple[dict[str, str], list[str]]:
    """(our name -> the log's column, sentences about what was guessed). ``wanted`` settles columns by hand.

    ValueError when a wanted column is not there, or when none can be guessed for the item and neither for the person
    nor the session.
    """
    columns = list(found)
    chosen = dict(wanted or {})
    for ours, theirs in chosen.items():
        if ours not in KNOWN_NAMES:
            raise ValueError(f"There is no column role '{ours}'. Known roles: {', '.join(KNOWN_NAMES)}.")
        if theirs not in columns:
            raise ValueError(f"The log has no column '{theirs}' for {ours}. Its columns: {shorten_list(columns)}.")
    notes = _guess(columns, chosen)
    if "user_id" not in chosen and "session_id" in chosen:
        chosen["user_id"] = chosen["session_id"]
        notes.append(f"There is no person column; each session of '{chosen['session_id']}' counts as a person.")
    for ours in ("user_id", "item_id"):
        if ours not in chosen:
            raise ValueError(
                f"No column of this log looks like {ours}; name it, for example {ours}=NAME. "
                f"Its columns: {shorten_list(columns)}."
            )
    if chosen["user_id"] == chosen["item_id"]:
        raise ValueError(f"Column '{chosen['item_id']}' cannot be both user_id and item_id.")
    return chosen, notes


def _guess(columns: list[str], chosen: dict[str, str]) -> list[str]:
    """Adds to ``chosen`` what the names say, and says so."""
    notes = []
    plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(columns)}
    for ours, spellings in KNOWN_NAMES.items():
        if ours in chosen:
            continue
        match = next((plain[s] for s in spellings if s in plain and plain[s] not in chosen.values()), None)
        if match is not None:
            chosen[ours] = match
            if match != ours:
                notes.append(f"Column '{match}' is taken as {ours}.")
    return notes
