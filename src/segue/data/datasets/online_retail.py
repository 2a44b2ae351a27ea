"""The bundled log: a year of a real shop, so that everything can be tried without looking for data first."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segue.data.event_log import EventLog


def load_online_retail() -> "tuple[EventLog, Path]":
    """(386,326 purchases of 4,334 customers, the table of the 3,659 products' titles).

    UCI Online Retail (Chen 2015, doi 10.24432/C5BW33, CC BY 4.0), cleaned by ``scripts/make_sample.py``; the README
    beside the files says how. ``session_id`` is the basket, and all events of a basket share one time.
    """
    from segue.data.readers.events import read_events

    folder = sample_folder()
    return read_events(folder / "events.csv.gz"), folder / "items.csv"


def sample_folder() -> Path:
    """Where the files lie: ``events.csv.gz``, ``items.csv`` and the README with their source and licence."""
    return Path(str(resources.files("segue.data"))) / "online_retail"
