"""Small logs as public bug reports describe them, through ``segue profile``: read right, or refused in one sentence."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from tests.support.cli import run

T0 = 1_600_000_000
HEAD = "user,item,time\n"
CHINESE = "张三,茶杯,2024-05-01 10:00:00\n张三,大碗,2024-05-01 10:05:00\n李四,茶杯,2024-05-02 09:00:00\n"
BOOKS = (
    '"User-ID";"ISBN";"Book-Rating"\r\n"276725";"034545104X";"0"\r\n"11676";" 9022906116";"7"\r\n'
    '"11676";"\\"0432534220\\"";"6"\r\n"11676";"0=965044153";"7"\r\n"276726";"0155061224";"5"\r\n'
)
"""Semicolons, quotes, ids with blanks and backslashes."""
HEADERLESS = "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,pv,1511561733\n100,1603476,2951233,buy,1511579908\n"
WORDS = ("NULL,a", "NULL,b", "NULL,c", "u1,a", "u1,b", "nan,a", "nan,b", ",a", "\\N,a", "u2,a", "u2,None")
COUNTER = "".join(
    f"u{user},{visit},i{(user + step) % 9},{T0 + 1000 * visit + 60 * step + user}\n"
    for visit in (1, 2, 3)
    for user in range(6)
    for step in range(4)
)
"""Numbers of visits that begin again with each user: 18 sessions of 4 events."""


class Case(NamedTuple):
    """A log and its expected reading."""

    text: str | bytes
    options: tuple[str, ...] = ()
    expected: dict[str, Any] | None = None
    """Values of the profile; None: the log is refused."""
    part: str = ""
    """Text that the report or the refusal holds."""
    name: str = "log.csv"


CASES = {
    "bookcrossing": Case(BOOKS, ("--column", "item_id=ISBN"), {"events": 5, "items": 5, "users": 3}),
    "bookcrossing, condition": Case(
        BOOKS, ("--column", "item_id=ISBN", "--where", '"Book-Rating" > 5'), {"events": 3, "users": 1}
    ),
    "decimal comma": Case(
        f"user;item;rating;timestamp\nu1;A;4,5;{T0}\nu1;B;3,0;{T0 + 100}\nu2;A;5,0;{T0 + 200}\n",
        ("--where", "rating > 4"),
        {"events": 2},
        "1 rows filtered out by the condition.",
    ),
    "decimal comma in times": Case(
        f"user;item;timestamp\nu1;A;{T0},5\nu1;B;{T0 + 100},25\nu2;A;{T0 + 200},75\n",
        (),
        {"events": 3, "first": "2020-09-13T12:26:40Z"},
        "Times have decimal commas.",
    ),
    "gbk header": Case(
        ("用户,商品,时间\n" + CHINESE).encode("gbk"), (), {"events": 3, "users": 2, "items": 2}, "read as gb18030"
    ),
    "gbk values": Case((HEAD + CHINESE).encode("gbk"), (), {"events": 3, "users": 2, "items": 2}, "read as gb18030"),
    "headerless": Case(HEADERLESS, (), None, "without a header, use header none"),
    "headerless, named": Case(
        HEADERLESS,
        (
            "--header",
            "none",
            *(f"--column={r}=column_{n}" for r, n in (("user_id", 1), ("item_id", 2), ("timestamp", 5))),
        ),
        {"events": 3, "users": 2, "last": "2017-11-25T03:18:28Z"},
    ),
    "headerless, named by its first line": Case(
        HEADERLESS,
        ("--column=user_id=1", "--column=item_id=2268318", "--column=timestamp=1511544070"),
        {"events": 2},
        "The first line is read as the header",
    ),
    "nested ids": Case(
        '{"user":{"id":1,"n":"a"},"item":"x","time":1}\n{"user":{"n":"a","id":1},"item":"y","time":2}\n',
        (),
        None,
        "ids are text or numbers",
        "log.jsonl",
    ),
    "sessions of lists": Case(
        '{"session":0,"events":[{"aid":1517085,"ts":1659304800025,"type":"clicks"}]}\n',
        (),
        None,
        "item_id",
        "log.jsonl",
    ),
    "words for missing ids": Case(
        HEAD + "".join(f"{row},{T0 + n}\n" for n, row in enumerate(WORDS)),
        (),
        {"events": 10},
        "Values of user_id look like missing ones (NULL 3, nan 2, \\N 1)",
    ),
    "an order for purchases only": Case(
        "user_id,item_id,timestamp,event,order_id\n"
        + "".join(
            f"u{n % 3},i{n % 5},{T0 + n},{'view' if n % 6 else 'purchase'},{'' if n % 6 else f'O{n}'}\n"
            for n in range(24)
        ),
        (),
        {"events": 24, "sessions": None},
        "Column 'order_id' is blank in 20 rows and is not read as session_id",
    ),
    "histories in each row": Case(
        "session_id:token\titem_id_list:token_seq\titem_id:token\n1\t2 3 4\t5\n2\t6 7\t8\n",
        (),
        None,
        "column 'item_id_list' holds the history of each row",
        "log.inter",
    ),
    "a counter of sessions": Case(
        "user_id,session_id,item_id,timestamp\n" + COUNTER, (), {"events": 72, "sessions": 18}, "shared by users"
    ),
    "units of time": Case(
        HEAD + f"u0,A0,{T0}000\nu1,A1,{T0 + 100}000\nu0,A2,{T0 + 200}000\nu1,A3,{T0 + 300}\nu0,A4,{T0 + 400}\n",
        (),
        {"events": 5, "first": "2020-09-13T12:26:40Z", "last": "2020-09-13T12:33:20Z"},
        "2 times are epoch s by their size",
    ),
    "times of PostgreSQL": Case(
        HEAD + "a,x,2020-12-31 21:25:58.745232+02\na,y,2020-12-31 21:26:58+02\nb,x,2020-12-31 21:27:58+02\n",
        (),
        {"events": 3, "first": "2020-12-31T19:25:58Z"},
    ),
    "small letters in times": Case(
        HEAD + "a,x,2024-05-01t10:00:00z\na,y,20240501T100000Z\n",
        (),
        {"events": 2, "first": "2024-05-01T10:00:00Z", "last": "2024-05-01T10:00:00Z"},
    ),
    "digits of a calendar": Case(
        HEAD + "a,x,20210101\na,y,20210102\nb,x,20210315\n",
        (),
        {"first": "2021-01-01T00:00:00Z", "last": "2021-03-15T00:00:00Z"},
    ),
    "digits of a calendar with a form": Case(
        HEAD + "a,x,20210101\na,y,20210102\nb,x,20210315\n",
        ("--time-format", "%Y%m%d"),
        {"first": "2021-01-01T00:00:00Z", "last": "2021-03-15T00:00:00Z"},
    ),
    "times before 1990": Case(HEAD + "a,x,1\na,y,2\nb,x,3\n", (), {"events": 3}, "All times lie before 1990"),
    "date and time apart": Case(
        "user,item,date,time\na,x,2024-05-01,10:00:00\na,y,2024-05-01,11:00:00\n",
        (),
        {"first": "2024-05-01T10:00:00Z", "last": "2024-05-01T11:00:00Z"},
        "Columns 'date' and 'time' are read together as timestamp.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_small_log(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = tmp_path / case.name
    path.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())
    done = run("profile", path, *case.options, "--json", code=0 if case.expected else 2)
    if case.expected:
        values = json.loads(done.stdout)
        assert {key: values[key] for key in case.expected} == case.expected
    else:
        assert len(done.stderr.splitlines()) == 1
    assert case.part in done.stderr


@pytest.mark.parametrize("name", ["log[1].csv", "a*b.csv", "dir[1]/log.csv"])
def test_a_named_file_and_no_other(name: str, tmp_path: Path) -> None:
    for other in ("log1.csv", "aXb.csv", "dir1/log.csv", name):
        path = tmp_path / other
        path.parent.mkdir(exist_ok=True)
        rows = f"a,x,{T0}\na,y,{T0 + 1}\n" if other == name else f"b,WRONG,{T0}\n"
        path.write_text(HEAD + rows)
    values = json.loads(run("profile", tmp_path / name, "--json").stdout)
    assert (values["events"], values["users"], values["items"]) == (2, 1, 2)


def test_a_folder_of_parts(tmp_path: Path) -> None:
    folder = tmp_path / "shop.parquet"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    (folder / "part-0.csv").write_text(HEAD + f"a,x,{T0}\na,y,{T0 + 1}\n")
    assert json.loads(run("profile", folder, "--json").stdout)["events"] == 2


def test_typed_columns_that_are_no_events(tmp_path: Path) -> None:
    base = {"user": ["a", "b"], "item": ["x", "y"], "time": [T0, T0 + 1]}
    for column, values in (("event", [["a"], ["b"]]), ("rating", [[1], [2]])):
        path = tmp_path / f"{column}.parquet"
        pl.DataFrame({**base, column: values}).write_parquet(path)
        assert f"Column '{column}' holds List" in run("profile", path, code=2).stderr
    whole = tmp_path / "days.parquet"
    pl.DataFrame({**base, "time": [20210101, 20210315]}).write_parquet(whole)
    for options in ((), ("--time-format", "%Y%m%d")):
        values = json.loads(run("profile", whole, *options, "--json").stdout)
        assert (values["first"], values["last"]) == ("2021-01-01T00:00:00Z", "2021-03-15T00:00:00Z")


def test_one_missing_price_among_numbers(tmp_path: Path) -> None:
    """The price stays a number, the cell is reported, and the filter of the placement holds."""
    rows = [f"u{u},{(u * 7 + step) % 20},{T0 + 100 * step + u}" for u in range(40) for step in range(8)]
    (tmp_path / "log.csv").write_text(HEAD + "\n".join(rows) + "\n")
    prices = "".join(f"{n},T{n},{'NA' if n == 7 else 2 * n}\n" for n in range(20))
    (tmp_path / "items.csv").write_text("item_id,title,price\n" + prices)
    (tmp_path / "shop.toml").write_text(
        '[[source]]\nmodel="covisit"\n[[source]]\nmodel="markov"\n[[placement]]\nname="cheap"\n'
        'rules={filter = "price < 7"}\n'
    )
    out = tmp_path / "run"
    done = run(
        "pipeline", tmp_path / "log.csv", tmp_path / "shop.toml", "--items", tmp_path / "items.csv", "--out", out
    )
    assert "Column 'price' is read as number; 1 cells have no such value, as 'NA'." in done.stderr
    found = run("recommend", out, "--history", "3", "--placement", "cheap", "--json")
    assert {row["item_id"] for row in json.loads(found.stdout)["items"]} == {"0", "1", "2"}
