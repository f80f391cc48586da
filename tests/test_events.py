"""The domain emits the events of docs/events.schema.json; docs/events.md shows them in tables."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from payments import domain
from payments.domain import Rules, Said, Verification
from payments.publish import envelope
from payments.repository import EventKey
from payments.story import Line, Order, Refund, Story

PAGE = Path(__file__).parent.parent / "docs" / "events.md"
SCHEMA = json.loads(PAGE.with_suffix(".schema.json").read_text())
LISTED = {
    event["if"]["properties"]["name"]["const"]: (
        event["description"],
        event["then"]["properties"]["data"]["required"],
    )
    for event in SCHEMA["allOf"]
}
NOW = 1_800_000_000
ORDER_ID = "7q43j6magdmzd2wiikat"


def emitted() -> dict[str, dict[str, Any]]:
    """The envelopes that the domain emits when everything happens that can happen, by name."""
    rules = Rules(1800, 60, (90,), (3600,), 86400, "refund")

    def said(story: Story, what: Said) -> Story:
        answer = Verification(what, "tx", 90_000, "ETB", "test", "AP1", str(what))
        return domain.decide(story, "tx", answer, NOW, "test", rules).story

    lines = (Line("COFFEE-250", "Coffee", 2, 45_000),)
    buyer = {"email": "abebe@shop.example"}
    order = Order(ORDER_ID, "abebe", 90_000, "ETB", lines, NOW, NOW + 1800, "hash", buyer)
    begun = domain.begin(domain.place(order), "tx", NOW, rules)
    opened = domain.opened(begun, "tx", "https://pay", NOW)
    paid = said(said(opened, Said.FAILED), Said.PAID)
    closed = domain.never_opened(begun, "tx", "refused", NOW)
    expired = domain.end(closed, NOW + 1800)
    unanswered = expired.with_order(unknown_since=NOW - 86_400)
    refund = Refund("r1", "tx", 90_000, "ETB", NOW, return_stock=True)
    owed = domain.refund_accepted(domain.request_refund(paid, refund, NOW), "r1", "RF1", NOW)
    stories = [
        said(expired, Said.PAID),
        domain.looked(unanswered, NOW, unknown=True, rules=rules),
        domain.end(domain.cancel(closed), NOW),
        *(said(paid, Said.REVERSED), said(paid, Said.REFUNDED), said(begun, Said.REFUNDED)),
        domain.refund_ended(owed, "r1", Said.REFUNDED, NOW),
        domain.refund_ended(owed, "r1", Said.REVERSED, NOW),
        domain.refund_review(owed, "r1", "refused", NOW),
    ]
    events = [event for story in stories for event in story.news]
    return {event.name: envelope(EventKey(ORDER_ID, 7), event) for event in events}


EMITTED = emitted()


def test_domain_emits_exactly_the_listed_events() -> None:
    domain_source = Path(domain.__file__).read_text()
    constant = set(re.findall(r'\.tell\(\s*"([a-z.]+)"', domain_source))
    assert re.findall(r"\.tell\(\s*([^\s\"][^\s,]+)", domain_source) == ['f"order.{status}"']
    assert constant | {"order.expired", "order.cancelled"} == EMITTED.keys() == LISTED.keys()


@pytest.mark.parametrize("name", LISTED)
def test_event_has_exactly_its_listed_fields(name: str) -> None:
    jsonschema.validate(EMITTED[name], SCHEMA)
    data = EMITTED[name]["data"]
    assert data.keys() == set(LISTED[name][1])
    assert ("amount" in data) == ("currency" in data)
    for missing in data:
        rest = {field: value for field, value in data.items() if field != missing}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(EMITTED[name] | {"data": rest}, SCHEMA)


@pytest.mark.parametrize("wrong", [{"amount": 90_000}, {"amount": "900"}])
def test_schema_refuses_wrong_values(wrong: dict[str, Any]) -> None:
    placed = EMITTED["order.placed"]
    changes: list[dict[str, Any]] = [{"version": 2}, {"id": f"{ORDER_ID}#0"}, {"number": "1"}]
    for change in [*changes, {"at": NOW}, {"data": placed["data"] | wrong}]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(placed | change, SCHEMA)


def test_no_event_names_the_customer() -> None:
    assert "abebe" not in json.dumps(EMITTED)


def table(head: str, rows: Iterable[str]) -> str:
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows, "\n"])


def generated() -> str:
    envelope, data = SCHEMA["properties"], SCHEMA["properties"]["data"]["properties"]
    fields, data_fields = (
        table("| Field | Value |", (f"| `{k}` | {v['description']} |" for k, v in schema.items()))
        for schema in (envelope, data)
    )
    events: dict[str, list[str]] = {"order": [], "payment": [], "refund": []}
    for name, (meaning, names) in LISTED.items():
        row = f"| `{name}` | {meaning} | {', '.join(f'`{each}`' for each in names)} |"
        events[name.partition(".")[0]].append(row)
    head = "| Name | Meaning | `data` |"
    tables = [f"## {kind.capitalize()}s\n\n{table(head, rows)}" for kind, rows in events.items()]
    return f"\n{fields}{''.join(tables)}## Fields of `data`\n\n{data_fields}"


def test_page_shows_the_schema_in_tables() -> None:
    before, start, _, end, after = re.split("(<!-- .+ -->\n)", PAGE.read_text())
    page = f"{before}{start}{generated()}{end}{after}"
    if os.environ.get("WRITE"):
        PAGE.write_text(page)
    assert page == PAGE.read_text()
    (example,) = re.findall(r"```json\n(.+?)```", page, re.DOTALL)
    jsonschema.validate(json.loads(example), SCHEMA)
