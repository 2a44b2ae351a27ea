"""SQLite connection of the event log: durable modes, format, encoding, and transactions that end in every case."""

import apsw
import pytest

from segue.serving.store.sqlite import close, connect, transaction


def pragma(connection, name):
    return connection.execute(f"PRAGMA {name}").get


def test_a_new_log_is_durable_and_has_a_format(tmp_path):
    connection = connect(tmp_path / "log")
    modes = [pragma(connection, name) for name in ("journal_mode", "synchronous", "fullfsync", "busy_timeout")]
    assert (modes, pragma(connection, "user_version")) == (["wal", 2, 1, 2000], 1)
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    assert tables == [("damaged",), ("events",)]
    close(connection)
    again = connect(tmp_path / "log")
    assert pragma(again, "user_version") == 1
    close(again)


def test_a_log_in_another_encoding_is_refused(tmp_path):
    """A flipped bit of the header may say so; every text would be read wrongly."""
    connection = apsw.Connection(str(tmp_path / "log"))
    connection.execute("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(x)").fetchall()
    connection.close()
    with pytest.raises(ValueError) as error:
        connect(tmp_path / "log")
    assert str(error.value) == (
        f"{tmp_path / 'log'} is damaged beyond its rows (encoding UTF-16le): restore it from a backup."
    )


@pytest.fixture
def table(tmp_path):
    connection = connect(tmp_path / "log")
    connection.execute("CREATE TABLE t(x UNIQUE)").fetchall()
    yield connection
    connection.close()


def rows(connection):
    return [x for (x,) in connection.execute("SELECT x FROM t")]


def test_a_transaction_is_kept_whole_or_not_at_all(table):
    with transaction(table):
        table.execute("INSERT INTO t VALUES (1)").fetchall()
        assert table.in_transaction
    assert not table.in_transaction
    with pytest.raises(KeyboardInterrupt), transaction(table):
        table.execute("INSERT INTO t VALUES (2)").fetchall()
        raise KeyboardInterrupt
    assert (rows(table), table.in_transaction) == ([1], False)


def test_a_transaction_that_ended_inside_raises_the_error_of_the_block(table):
    """SQLite itself rolls back after some errors, such as a full disk."""
    with pytest.raises(apsw.FullError, match="no space"), transaction(table):
        table.execute("INSERT INTO t VALUES (2)").fetchall()
        table.execute("ROLLBACK").fetchall()
        raise apsw.FullError("no space")
    assert rows(table) == []


def test_a_transaction_takes_the_lock_at_its_begin(table, tmp_path):
    """A second writer waits at the begin, and not after it has read."""
    other = apsw.Connection(str(tmp_path / "log"))
    with transaction(table), pytest.raises(apsw.BusyError):
        other.execute("BEGIN IMMEDIATE").fetchall()
    other.close()


def test_close_merges_the_write_ahead_log_and_closes_in_every_case(tmp_path):
    connection = connect(tmp_path / "log")
    connection.execute("CREATE TABLE t(x)").fetchall()
    reader = apsw.Connection(str(tmp_path / "log"), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    close(connection)
    assert (tmp_path / "log-wal").stat().st_size == 0, "a reader keeps the file, but nothing is left in it"
    reader.close()
    connection = connect(tmp_path / "log")
    connection.execute("BEGIN IMMEDIATE").fetchall()
    with pytest.raises(apsw.Error):
        close(connection)
    with pytest.raises(apsw.ConnectionClosedError):
        connection.execute("SELECT 1").fetchall()
