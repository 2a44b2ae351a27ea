"""File formats and tables as raw columns: files, encodings, delimited text, JSON, Parquet, Arrow, data frames."""
