"""Bundled log: one year of purchases of a real shop, UCI Online Retail."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def load_online_retail() -> "tuple[EventLog, Path]":
    """Return the log (386,326 purchases of 4,334 customers) and the path of the item table (titles of 3,659 products).

    UCI Online Retail (Chen 2015, doi 10.24432/C5BW33, CC BY 4.0), cleaned by ``scripts/make_sample.py``; the README
    beside the files describes the rules. ``session_id`` is the basket, and all events of a basket share one time.
    """
    from segue.data.readers.events import read_events

    folder = sample_folder()
    return read_events(folder / "events.csv.gz"), folder / "items.csv"


def sample_folder() -> Path:
    """Return the folder with ``events.csv.gz``, ``items.csv`` and the README with their source and license."""
    return Path(str(resources.files("segue.data"))) / "online_retail"
