"""Orders of a person, left in the campaign's directory."""

import pytest

from campaign.adapters import orders
from campaign.adapters.orders import OrderBox
from campaign.core.model import Order


def test_an_order_is_obeyed_by_runs_that_were_there(tmp_path):
    box = OrderBox(tmp_path)
    assert box() is None
    standing = orders.give(tmp_path, Order.STOP, "the disk is full")
    assert box() is Order.STOP
    assert "stop by" in str(standing)
    assert str(standing).endswith("the disk is full")


def test_an_order_to_end_is_not_meant_for_later_runs_but_a_pause_is(tmp_path):
    orders.give(tmp_path, Order.ABORT)
    assert OrderBox(tmp_path)() is None
    orders.give(tmp_path, Order.PAUSE)
    assert OrderBox(tmp_path)() is Order.PAUSE


@pytest.mark.parametrize("text", ["", "{", "[]", '{"order": "explode"}', '{"order": "stop"}', "null"])
def test_what_is_no_order_is_none(tmp_path, text):
    (tmp_path / orders.FILE).write_text(text)
    assert orders.read(tmp_path) is None
    assert OrderBox(tmp_path)() is None
