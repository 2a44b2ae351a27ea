"""segue profile: what is in a log, and what is odd about it."""

from segue.cli import options as o
from segue.cli.output import out, print_json, table


def profile(
    log: o.Log,
    format: o.Format = "auto",
    column: o.Columns = None,
    where: o.Where = None,
    time_unit: o.TimeUnit = "auto",
    time_format: o.TimeFormat = None,
    strict: o.Strict = False,
    rejected: o.Rejected = None,
    json: o.Json = False,
) -> None:
    """Say what is in a log, and what is odd about it, before a day is spent on models.

    Examples:
      segue profile shop.csv
      segue profile raw.parquet --where "Quantity > 0" --rejected rejected.csv
    """
    from segue.data.profile import profile as look

    read = o.open_log(
        log,
        format=format,
        columns=column,
        where=where,
        time_unit=time_unit,
        time_format=time_format,
        strict=strict,
        rejected=rejected,
    )
    found = look(read)
    if json:
        print_json(found.to_dict())
        return
    table(None, ["", "value"], [[name, value] for name, value in found.lines()])
    for sentence in found.oddities:
        out.print(f"- {sentence}", markup=False)
