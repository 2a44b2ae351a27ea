"""Event types that mean a purchase, a click or a cancellation, in English and Chinese."""

import unicodedata
from collections.abc import Collection
from functools import lru_cache

PURCHASE_EVENTS = (
    *("purchase", "purchased", "buy", "bought", "order", "ordered", "place order", "order placed", "order completed"),
    *("transaction", "pay", "paid", "payment", "payment success", "order paid", "checkout completed", "sale", "sold"),
    *(
        "购买",
        "已购买",
        "下单",
        "已下单",
        "提交订单",
        "订单",
        "支付",
        "已支付",
        "支付成功",
        "付款",
        "已付款",
        "付款成功",
    ),
    *("成交", "交易成功", "買", "購買", "下單", "付款完成", "支付完成"),
)
"""Types that count as a purchase. Case, spaces, hyphens and underscores do not count."""
CLICK_EVENTS = ("view", "click", "点击", "浏览", "查看", "點擊", "瀏覽")
"""Types that count as a click."""
_CANCELLATION_PARTS = ("cancel", "refund", "chargeback", "取消", "退款", "退货", "退貨", "退单", "撤单", "撤销")
_CANCELLATIONS = frozenset({"return", "returns", "returned", "void", "关闭订单", "订单关闭", "交易关闭"})


@lru_cache(maxsize=4096)
def normalize_event_type(event: str) -> str:
    """Return an event type in lower case without spaces, hyphens and underscores.

    >>> normalize_event_type("Add_To Cart")
    'addtocart'
    """
    plain = unicodedata.normalize("NFKC", event).casefold()
    return "".join(c for c in plain if c not in "-_" and not c.isspace())


@lru_cache(maxsize=64)
def _normalized(types: Collection[str]) -> frozenset[str]:
    return frozenset(map(normalize_event_type, types))


def is_event_of(event: str, types: tuple[str, ...]) -> bool:
    """Return True if an event type is one of some types.

    >>> is_event_of("Order_Paid", PURCHASE_EVENTS), is_event_of("cancel order", PURCHASE_EVENTS)
    (True, False)

    Args:
        event: type of an event.
        types: types, such as ``PURCHASE_EVENTS``.
    """
    return normalize_event_type(event) in _normalized(types)


def is_cancellation(event: str) -> bool:
    """Return True for an event type that takes a purchase back: a cancellation, a refund or a return.

    >>> is_cancellation("取消订单"), is_cancellation("order_refunded"), is_cancellation("下单")
    (True, True, False)
    """
    plain = normalize_event_type(event)
    return plain in _CANCELLATIONS or any(part in plain for part in _CANCELLATION_PARTS)
