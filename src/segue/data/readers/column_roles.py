"""Roles of columns (user, item, timestamp ...), guessed from common names; every guess is reported."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from segue.data.read_report import shorten_list

KNOWN_COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "user_id": (
        *("userid", "user", "uid", "customerid", "customer", "visitorid", "visitor", "memberid", "member"),
        *("personid", "person", "clientid", "accountid", "account", "reviewerid", "profileid"),
        *(
            "用户id",
            "用户",
            "用户编号",
            "会员id",
            "会员",
            "会员编号",
            "客户id",
            "客户",
            "顾客id",
            "顾客",
            "买家id",
            "买家",
            *("用戶id", "用戶", "會員id", "會員", "會員編號", "使用者id", "使用者", "客戶id", "客戶", "顧客", "買家"),
        ),
    ),
    "item_id": (
        *("itemid", "item", "iid", "productid", "product", "movieid", "movie", "stockcode", "sku", "articleid"),
        *("article", "asin", "trackid", "track", "songid", "bookid", "newsid", "videoid", "contentid", "reference"),
        *("商品id", "商品", "商品编号", "商品编码", "产品id", "产品", "产品编号", "物品id", "物品", "货号", "款号"),
        *("内容id", "视频id", "文章id", "歌曲id", "商品編號", "商品編碼", "產品id", "產品", "產品編號", "貨號"),
    ),
    "timestamp": (
        *("timestamp", "time", "ts", "datetime", "date", "eventtime", "createdat", "invoicedate", "unixtime"),
        *("unixreviewtime", "occurredat", "when"),
        *("时间", "时间戳", "日期", "日期时间", "行为时间", "事件时间", "发生时间", "下单时间", "创建时间", "访问时间"),
        *("時間", "時間戳", "日期時間", "行為時間", "下單時間"),
    ),
    "session_id": (
        *("sessionid", "session", "sid", "basketid", "basket", "visitid", "invoiceno", "orderid"),
        *("会话id", "会话", "访问id", "订单id", "订单号", "订单编号"),
    ),
    "event": (
        *("event", "eventtype", "type", "action", "actiontype", "behavior", "behaviour", "interaction"),
        *(
            "行为",
            "行为类型",
            "事件",
            "事件类型",
            "操作",
            "操作类型",
            "动作",
            "行為",
            "行為類型",
            "事件類型",
            "操作類型",
            "動作",
        ),
    ),
    "value": ("value", "rating", "score", "stars", "评分", "分数", "星级"),
}
"""Role -> column names as ``plain_name`` writes them, the likeliest first."""
TITLE_COLUMN_NAMES = (
    *("title", "name", "description", "itemname", "productname", "label"),
    *("标题", "名称", "商品名称", "商品标题", "产品名称", "商品名", "品名", "標題", "名稱", "商品名稱", "產品名稱"),
)
"""Names of a title column, without case and punctuation, the likeliest first."""
NO_COLUMN = "none"
"""Column of a role that the caller declines."""


def check_roles(roles: Iterable[str]) -> None:
    """Raise ValueError for a role that no column can have."""
    for role in roles:
        if role not in KNOWN_COLUMN_NAMES:
            raise ValueError(f"There is no column role '{role}'. Known roles: {', '.join(KNOWN_COLUMN_NAMES)}.")


def guess_role(column: str) -> str | None:
    """Return the role that a column's name shows; None for other names."""
    name = plain_name(column)
    return next((role for role, names in KNOWN_COLUMN_NAMES.items() if name in names), None)


def plain_name(column: str) -> str:
    """Return a column's name without case, punctuation, full-width characters and a remark in brackets.

    >>> plain_name("User_ID"), plain_name("时间（秒）"), plain_name("(id)")
    ('userid', '时间', 'id')
    """
    name = unicodedata.normalize("NFKC", column).lower()
    short = re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", name)
    return re.sub(r"[\W_]", "", short) or re.sub(r"[\W_]", "", name)


def find_title_column(columns: Iterable[str]) -> str | None:
    """Return the name of the column with the items' titles; None when no column is named like one."""
    plain = {plain_name(name): name for name in columns}
    return next((plain[name] for name in TITLE_COLUMN_NAMES if name in plain), None)


def assign_column_roles(columns: Iterable[str], chosen: Mapping[str, str] | None) -> tuple[dict[str, str], list[str]]:
    """Assign the roles of a log's columns.

    Args:
        columns: names of the log's columns.
        chosen: role -> column, given by the caller, or "none" for a role that no column has; None: all roles are
            guessed.

    Returns:
        Role -> column, and sentences about the guesses.

    Raises:
        ValueError: a chosen column is missing, or no column can be guessed for the item, or none for the user and the
            session.
    """
    columns = list(columns)
    roles = dict(chosen or {})
    declined = [role for role, column in roles.items() if column == NO_COLUMN]
    check_roles(roles)
    for role, column in roles.items():
        if role not in declined and column not in columns:
            raise ValueError(f"The log has no column '{column}' for {role}. Its columns: {shorten_list(columns)}.")
    notes = _guess_roles(columns, roles)
    roles = {role: column for role, column in roles.items() if role not in declined}
    if "user_id" not in roles and "session_id" in roles:
        roles["user_id"] = roles["session_id"]
        notes.append(f"There is no user column; each session of '{roles['session_id']}' counts as a user.")
    for role in ("user_id", "item_id"):
        if role not in roles:
            raise ValueError(
                f"No column of this log looks like {role}; name it, for example {role}=NAME. "
                f"Its columns: {shorten_list(columns)}."
            )
    if roles["user_id"] == roles["item_id"]:
        raise ValueError(f"Column '{roles['item_id']}' cannot be both user_id and item_id.")
    return roles, notes


def _guess_roles(columns: list[str], roles: dict[str, str]) -> list[str]:
    """Add roles that can be guessed from names, and return a sentence per guess."""
    notes = []
    column_of = {plain_name(column): column for column in reversed(columns)}
    for role, names in KNOWN_COLUMN_NAMES.items():
        if role in roles:
            continue
        match = next((column_of[n] for n in names if n in column_of and column_of[n] not in roles.values()), None)
        if match is not None:
            roles[role] = match
            if match != role:
                notes.append(f"Column '{match}' is read as {role}.")
    return notes
