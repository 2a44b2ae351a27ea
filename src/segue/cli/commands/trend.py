"""Command ``segue trend``: items with rising demand, each with a chart of its last periods."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.early_checks import check_inputs
from segue.cli.output import out, print_json, sparkline, table
from segue.cli.setting_options import parse_settings
from segue.cli.tables import open_items
from segue.models.forecasting.trend import NUM_SAVED_PERIODS

if TYPE_CHECKING:
    from segue.models.forecasting.trend import RisingItem


def trend(
    log: o.Log,
    *,
    k: Annotated[int, typer.Option(help="Number of items.")] = 10,
    min_events: Annotated[int, typer.Option(help="Items with fewer events are filtered out.")] = 10,
    items: o.ItemTitles = None,
    sets: o.Sets = None,
    reading: o.LogOptions,
    json: o.Json = False,
) -> None:
    """List rising items: those whose forecast for the next period is highest above their long-run mean.

    Every period is scaled to average traffic, so that an item rises only where its share of the events grows. Settings
    are those of the model 'trend', which recommends by the whole forecast.

    \b
    Examples:
      segue trend shop.csv --items products.csv
      segue trend shop.csv --set period_s=86400 --set method=var --k 20
    """
    from segue.config.decode import decode_settings
    from segue.data.profile import format_duration
    from segue.models.forecasting.demand_series import count_demand
    from segue.models.forecasting.trend import Trend, TrendConfig

    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    config = decode_settings(TrendConfig, parse_settings(sets, ["trend"])["trend"])
    check_inputs(items)
    events = reading.read(log)
    if not events.has_times:
        raise ValueError(f"{log} has no timestamps, and a trend needs them.")
    catalog = events.catalog()
    sequences, _ = events.sequences(catalog)
    demand = count_demand(sequences, catalog.size, period_s=config.period_s)
    rising = Trend.fit(sequences, catalog.size, config).rising(k, min_events=min_events)
    known = {} if items is None else open_items(items, events, allow_loss=reading.allow_loss).for_catalog(catalog)
    names = catalog.to_ids([row.item for row in rising])
    titles = [str(known.get(name, {}).get("title", "")) for name in names]
    if json:
        about = {"period_s": demand.period_s, "periods": demand.num_periods, "until_us": demand.end_us}
        rows = [_to_dict(*row) for row in zip(names, titles, rising, strict=True)]
        print_json({**about, "settings": asdict(config), "items": rows})
        return
    lines = [_cells(n, *row) for n, row in enumerate(zip(names, titles, rising, strict=True), start=1)]
    table(None, ["#", "item", "title", "recent", "events", "mean", "forecast", "lift"], lines, left=4)
    if not rising:
        out.print(f"No item with {min_events} events or more is rising.")
    out.print(
        f"Forecast: events in the next {format_duration(demand.period_s)}, beside the long-run mean, at average "
        f"traffic; from {demand.num_periods} periods. Recent: the newest {NUM_SAVED_PERIODS} at most.",
        markup=False,
    )


def _to_dict(name: str, title: str, row: "RisingItem") -> dict[str, Any]:
    values = asdict(row)
    values.pop("item")
    return {"item_id": name, "title": title, **values}


def _cells(rank: int, name: str, title: str, row: "RisingItem") -> list[str]:
    numbers = [f"{row.events:,}", f"{row.baseline:.2f}", f"{row.forecast:.2f}", f"x {row.lift:.2f}"]
    return [str(rank), name, title, sparkline(row.recent), *numbers]
