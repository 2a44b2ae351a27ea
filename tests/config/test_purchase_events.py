"""Event types that count as a purchase, and those that never do."""

import pytest

from segue.config.purchase_events import CLICK_EVENTS, PURCHASE_EVENTS, is_cancellation, is_event_of


@pytest.mark.parametrize(
    "event",
    [
        *("purchase", "Purchase", "PURCHASED", "buy", "order", "Order_Placed", "place order", "transaction", "paid"),
        *("购买", "下单", "支付", "支付成功", "付款", "已支付", " 购买 ", "成交", "Ｂｕｙ"),
    ],
)
def test_purchases(event: str) -> None:
    assert is_event_of(event, PURCHASE_EVENTS) and not is_cancellation(event)


@pytest.mark.parametrize(
    "event",
    [
        *("cancel", "Cancelled", "order_cancel", "refund", "Refunded", "partial refund", "return", "chargeback"),
        *("取消", "取消订单", "取消支付", "退款", "申请退款", "退货", "退单", "撤销支付"),
    ],
)
def test_cancellations(event: str) -> None:
    assert is_cancellation(event) and not is_event_of(event, PURCHASE_EVENTS)


@pytest.mark.parametrize(
    "event", ["view", "click", "加购", "加入购物车", "收藏", "未支付", "待付款", "unpaid", "add_to_cart", ""]
)
def test_neither(event: str) -> None:
    assert not is_event_of(event, PURCHASE_EVENTS) and not is_cancellation(event)


def test_clicks() -> None:
    assert all(is_event_of(event, CLICK_EVENTS) for event in ("view", "Click", "点击", "浏览"))
