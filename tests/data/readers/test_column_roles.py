"""Column roles: common names, and a note for every guess."""

import pytest

from segue.data.readers.column_roles import assign_column_roles


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["user_id", "item_id", "timestamp"], ["user_id", "item_id", "timestamp"]),
        (["CustomerID", "StockCode", "InvoiceDate"], ["CustomerID", "StockCode", "InvoiceDate"]),
        (["timestamp", "visitorid", "event", "itemid"], ["visitorid", "itemid", "timestamp"]),
        (["userId", "movieId", "rating", "ts"], ["userId", "movieId", "ts"]),
        (["reviewerID", "asin", "unixReviewTime"], ["reviewerID", "asin", "unixReviewTime"]),
        (["event_time", "event_type", "product_id", "user_id"], ["user_id", "product_id", "event_time"]),
        (["SessionId", "ItemId", "Time"], ["SessionId", "ItemId", "Time"]),
        (["user", "User_ID", "item"], ["User_ID", "item"]),
        (["ITEM", "item", "user"], ["user", "ITEM"]),
        (["用户ＩＤ", "商品ＩＤ", "时间"], ["用户ＩＤ", "商品ＩＤ", "时间"]),
        (["用户ID(加密)", "商品ID", "时间（秒）"], ["用户ID(加密)", "商品ID", "时间（秒）"]),
        (["會員ID", "商品編號", "時間"], ["會員ID", "商品編號", "時間"]),
        (["用戶", "產品", "時間戳"], ["用戶", "產品", "時間戳"]),
    ],
)
def test_common_column_names(columns: list[str], chosen: list[str]) -> None:
    column_of, _ = assign_column_roles(columns, None)
    roles = ["user_id", "item_id", "timestamp"][: len(chosen)]
    assert [column_of[role] for role in roles] == chosen


@pytest.mark.parametrize("name", ["behaviour", "Behavior", "action_type"])
def test_the_event_column_has_either_spelling(name: str) -> None:
    """A search for British spellings had removed one of the names."""
    assert assign_column_roles(["user", "item", name], None)[0]["event"] == name


def test_every_guess_is_reported_and_nothing_else() -> None:
    _, notes = assign_column_roles(["user_id", "sku", "Time"], None)
    assert notes == ["Column 'sku' is read as item_id.", "Column 'Time' is read as timestamp."]


def test_a_choice_by_hand_settles_it() -> None:
    columns, notes = assign_column_roles(["user", "shopper", "item"], {"user_id": "shopper"})
    assert columns == {"user_id": "shopper", "item_id": "item"}
    assert notes == ["Column 'item' is read as item_id."]


@pytest.mark.parametrize(
    ("result", "expected", "message"),
    [
        (
            ["a", "b"],
            {},
            r"^No column of this log looks like user_id; name it, for example user_id=NAME\. Its columns: a, b\.$",
        ),
        (
            [f"c{i}" for i in range(25)],
            {},
            r"Its columns: c0, c1, .*, c19 and 5 more\.$",
        ),
        (
            ["user", "item"],
            {"user_id": "user", "item_id": "user"},
            r"^Column 'user' cannot be both user_id and item_id\.$",
        ),
        (["user"], {"item_id": "shop"}, r"^The log has no column 'shop' for item_id\. Its columns: user\.$"),
        (
            ["user"],
            {"thing": "user"},
            r"^There is no column role 'thing'\. Known roles: user_id, item_id, timestamp, session_id, event, value\.$",
        ),
    ],
)
def test_invalid_input_is_one_sentence(result: list[str], expected: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign_column_roles(result, expected)


def test_chinese_names_are_guessed() -> None:
    columns = ["用户ID", "商品ID", "行为类型", "时间", "评分", "订单号"]
    roles, notes = assign_column_roles(columns, None)
    assert list(roles.values()) == ["用户ID", "商品ID", "时间", "订单号", "行为类型", "评分"]
    assert notes[0] == "Column '用户ID' is read as user_id."
