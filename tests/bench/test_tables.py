"""What the benches say about their goals and units."""

from bench.tables import Goal, verdict
from bench.units import read_units


def test_missed_goals_are_stated_with_their_limits() -> None:
    goals = [Goal("time", 0.6, 0.5), Goal("rate", 2.5, 2, least=True), Goal("size", 1, 1)]
    assert verdict(goals) == "Missed: time 0.6 (≤ 0.5)."
    assert verdict(goals[1:]) == "All goals are reached."


def test_items_of_a_query_share_read_units_and_items_of_a_batch_do_not() -> None:
    items = [{"pk": {"S": "x" * 1500}}] * 2
    assert read_units("Query", {}, {"Items": items}) == 0.5
    assert read_units("Query", {"ConsistentRead": True}, {"Items": items}) == 1
    wanted = {"RequestItems": {"table": {"Keys": [{}] * 3, "ConsistentRead": True}}}
    assert read_units("BatchGetItem", wanted, {"Responses": {"table": items}}) == 3
