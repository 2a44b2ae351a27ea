"""Builder of the bundled sample log from the published UCI Online Retail rows: `python scripts/make_sample.py`.

Reads ``$SEGUE_DATA/online-retail/online_retail.parquet`` (the archive's 541,909 rows as published; default folder
../shared/data), rewrites src/segue/data/online_retail, and reports the number of rows that each cleaning rule removed.
"""

import gzip
import io
import os
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src" / "segue" / "data" / "online_retail"
PRODUCT_CODE = r"^[0-9]{5}[A-Za-z]{0,2}$"
"""Pattern of product codes; POST, DOT, M, BANK CHARGES, PADS and similar codes are no products."""


def source() -> Path:
    """Return the path of the published rows, by the environment variable SEGUE_DATA."""
    return (
        Path(os.environ.get("SEGUE_DATA", ROOT / ".." / "shared" / "data")) / "online-retail" / "online_retail.parquet"
    )


def clean(raw: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return the purchases in file order, and a line per rule with the number of rows that it removed.

    A product on two lines of one invoice is one event. A product that the customer's next basket repeats is kept.
    """
    rules = {
        "without a customer": pl.col("CustomerID").is_not_null(),
        "cancelled or returned": ~pl.col("InvoiceNo").str.starts_with("C") & (pl.col("Quantity") > 0),
        "no product (postage, fees, samples)": pl.col("StockCode").str.contains(PRODUCT_CODE),
        "given away": pl.col("UnitPrice") > 0,
    }
    report = [f"{raw.height:,} rows read"]
    for reason, keep in rules.items():
        kept = raw.filter(keep)
        report.append(f"{raw.height - kept.height:,} {reason}")
        raw = kept
    once = raw.unique(["CustomerID", "InvoiceNo", "StockCode"], keep="first", maintain_order=True)
    report.append(f"{raw.height - once.height:,} second lines of a product in one basket")
    timestamp = pl.col("InvoiceDate").dt.to_string("%Y-%m-%dT%H:%MZ")
    events = once.sort("InvoiceDate", maintain_order=True).select(
        pl.col("CustomerID").cast(pl.Int64).cast(pl.String).alias("user_id"),
        pl.col("StockCode").alias("item_id"),
        timestamp.alias("timestamp"),
        pl.col("InvoiceNo").alias("session_id"),
    )
    return events, [*report, f"{events.height:,} events kept"]


def titles(raw: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Return each product's most frequent description; of ties the alphabetically first.

    Args:
        raw: published rows.
        events: purchases, whose products are listed.

    Returns:
        Columns item_id and title.
    """
    named = raw.select(pl.col("StockCode").alias("item_id"), pl.col("Description").str.strip_chars().alias("title"))
    counts = named.drop_nulls().filter(pl.col("title") != "").group_by("item_id", "title").len()
    best = counts.sort(["item_id", "len", "title"], descending=[False, True, False]).unique("item_id", keep="first")
    return best.join(events.select("item_id").unique(), on="item_id").select("item_id", "title").sort("item_id")


def write(events: pl.DataFrame, items: pl.DataFrame, target: Path) -> None:
    """Write the log and the item table. Equal rows give equal bytes: the archive has no timestamp.

    Args:
        events: log.
        items: item table.
        target: folder to write to.
    """
    buffer = io.BytesIO()
    events.write_csv(buffer)
    with (target / "events.csv.gz").open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as zipped:
        zipped.write(buffer.getvalue())
    items.write_csv(target / "items.csv")


def main() -> None:
    """Read, clean and write the rows, and print a report."""
    if not source().exists():
        raise SystemExit(f"There is no {source()}: set SEGUE_DATA to the folder that holds online-retail/.")
    raw = pl.read_parquet(source())
    events, report = clean(raw)
    write(events, titles(raw, events), TARGET)
    print("\n".join(report))


if __name__ == "__main__":
    main()
