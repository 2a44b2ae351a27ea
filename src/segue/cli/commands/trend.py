"""segue trend: what is wanted more and more, each item with its last periods drawn."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.cli import options as o
from segue.cli.output import out, print_json, sparkline, table
from segue.models.forecasting.trend import NUM_SAVED_BINS

if TYPE_CHECKING:
    from segue.models.forecasting.trend import RisingItem


def trend(
    log: o.Log,
    k: Annotated[int, typer.Option(help="How many items.")] = 10,
    min_events: Annotated[int, typer.Option(help="Items with fewer events are not listed.")] = 10,
    items: Annotated[Path | None, typer.Option(help="An items table: item_id and columns such as title.")] = None,
    sets: o.Sets = None,
    format: o.Format = "auto",
    column: o.Columns = None,
    where: o.Where = None,
    trim: o.Trims = None,
    time_unit: o.TimeUnit = "auto",
    time_format: o.TimeFormat = None,
    json: o.Json = False,
) -> None:
    """Say what is rising: items whose forecast for the next period is highest above their long-run mean.

    Every period is taken as if it had had the average traffic, so that an item rises only where it gains on the others.
    Settings are those of the model 'trend', which serves the whole forecast.

    \b
    Examples:
      segue trend shop.csv --items products.csv
      segue trend shop.csv --set period_s=86400 --set method=var --k 20
    """
    from segue.config.decode import decode_settings
    from segue.data.profile import format_duration
    from segue.data.readers.items import read_items
    from segue.models.forecasting.demand_series import count_demand
    from segue.models.forecasting.trend import Trend, TrendConfig

    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    config = decode_settings(TrendConfig, o.parse_settings(sets, ["trend"])["trend"])
    read = o.open_log(
        log, format=format, columns=column, where=where, trim=trim, time_unit=time_unit, time_format=time_format
    )
    if not read.has_times:
        raise ValueError(f"{log} has an order but no times, so nothing in it can be said to rise.")
    catalog = read.catalog()
    rows, _ = read.sequences(catalog)
    counted = count_demand(rows, catalog.size, period_s=config.period_s)
    found = Trend.fit(rows, catalog.size, config).rising(k, min_events=min_events)
    shown = {} if items is None else read_items(items).for_catalog(catalog)
    names = catalog.to_ids([one.item for one in found])
    titles = [str(shown.get(name, {}).get("title", "")) for name in names]
    if json:
        about = {"period_s": counted.period_s, "periods": counted.bins, "until_us": counted.end_us}
        listed = [_plain(*one) for one in zip(names, titles, found, strict=True)]
        print_json({**about, "settings": asdict(config), "items": listed})
        return
    lines = [_line(n, *one) for n, one in enumerate(zip(names, titles, found, strict=True), start=1)]
    table(None, ["#", "item", "title", "lately", "events", "usual", "forecast", "lift"], lines, left=4)
    if not found:
        out.print(f"Nothing with {min_events} events or more is rising.")
    out.print(
        f"Forecast: events in the next {format_duration(counted.period_s)}, and the long-run mean beside it, "
        f"at average traffic; from {counted.bins} such periods. Lately: the newest {NUM_SAVED_BINS} at most.",
        markup=False,
    )


def _plain(name: str, title: str, one: "RisingItem") -> dict[str, Any]:
    values = asdict(one)
    values.pop("item")
    return {"item_id": name, "title": title, **values}


def _line(place: int, name: str, title: str, one: "RisingItem") -> list[str]:
    numbers = [f"{one.events:,}", f"{one.baseline:.2f}", f"{one.forecast:.2f}", f"x {one.lift:.2f}"]
    return [str(place), name, title, sparkline(one.recent), *numbers]
