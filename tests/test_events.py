"""docs/events.md, its schema and the domain say the same."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from payments import domain
from payments.domain import Rules, Said, Verification
from payments.publish import envelope
from payments.repository import EventKey
from payments.story import Event, Line, Order, Refund, Story

ROOT = Path(__file__).parent.parent
DOMAIN = (ROOT / "shared" / "payments" / "domain.py").read_text()
SCHEMA = json.loads((ROOT / "docs" / "events.schema.json").read_text())
NOW = 1_800_000_000
ORDER_ID = "7q43j6magdmzd2wiikat"
RULES = Rules(1800, 60, (90,), (3600,), 86400, "refund")
PAID = Verification(Said.PAID, "tx", 90_000, "ETB", "test", "AP1", "success")


def documented() -> dict[str, set[str]]:
    """Each name that the page lists, with the fields of its data."""
    page = (ROOT / "docs" / "events.md").read_text()
    rows = re.findall(r"^\| `([a-z]+\.[a-z]+)` \| .+? \| (.+) \|$", page, re.MULTILINE)
    remarks = re.compile(r"\([^)]*\)")
    return {name: set(re.findall(r"`(\w+)`", remarks.sub("", fields))) for name, fields in rows}


def every_event() -> list[Event]:
    """What the domain tells when everything happens that can."""
    placed = domain.place(
        Order(
            ORDER_ID,
            "abebe",
            90_000,
            "ETB",
            (Line("COFFEE-250", "Coffee", 2, 45_000),),
            NOW,
            NOW + 1800,
            "hash",
            {"email": "abebe@shop.example"},
        )
    )
    begun = domain.begin(placed, "tx", NOW, RULES)

    def said(story: Story, what: Said) -> Story:
        answer = replace(PAID, said=what, status=str(what))
        return domain.decide(story, "tx", answer, NOW, "test", RULES).story

    def refund(story: Story) -> Story:
        owed = Refund("r1", "tx", 90_000, "ETB", NOW, return_stock=True)
        return domain.request_refund(story, owed, NOW)

    paid = said(said(domain.opened(begun, "tx", "https://pay", NOW), Said.FAILED), Said.PAID)
    closed = domain.never_opened(begun, "tx", "refused", NOW)
    expired = domain.end(closed, NOW + 1800)
    late = said(expired, Said.PAID)
    silent = expired.with_order(unknown_since=NOW - 86_400)
    owed = domain.refund_accepted(refund(paid), "r1", "RF1", NOW)
    ends = [
        late,
        domain.looked(silent, NOW, unknown=True, rules=RULES),
        domain.end(domain.cancel(closed), NOW),
        said(paid, Said.REVERSED),
        said(paid, Said.REFUNDED),
        said(begun, Said.REFUNDED),
        domain.refund_ended(owed, "r1", Said.REFUNDED, NOW),
        domain.refund_ended(owed, "r1", Said.REVERSED, NOW),
        domain.refund_review(owed, "r1", "refused", NOW),
    ]
    return [event for story in ends for event in story.news]


EVENTS = {event.name: event for event in every_event()}


def test_the_page_lists_exactly_the_names_that_the_domain_can_tell() -> None:
    constant = set(re.findall(r'\.tell\(\s*"([a-z.]+)"', DOMAIN))
    computed = re.findall(r'\.tell\(\s*(f"[^"]+")', DOMAIN)
    assert computed == ['f"order.{status}"']
    assert len(re.findall(r"\.tell\(", DOMAIN)) == len(re.findall(r'\.tell\(\s*f?"', DOMAIN))
    assert documented().keys() == constant | {"order.expired", "order.cancelled"}


def test_everything_that_can_be_told_is_told_here() -> None:
    assert documented().keys() == EVENTS.keys()


@pytest.mark.parametrize("name", documented())
def test_an_event_has_the_fields_that_the_page_lists(name: str) -> None:
    assert envelope(EventKey(ORDER_ID, 7), EVENTS[name])["data"].keys() == documented()[name]


@pytest.mark.parametrize("name", documented())
def test_an_event_is_as_the_schema_says(name: str) -> None:
    jsonschema.validate(envelope(EventKey(ORDER_ID, 7), EVENTS[name]), SCHEMA)


@pytest.mark.parametrize("name", documented())
def test_the_schema_demands_each_field(name: str) -> None:
    for missing in documented()[name]:
        whole = envelope(EventKey(ORDER_ID, 7), EVENTS[name])
        del whole["data"][missing]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(whole, SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"id": f"{ORDER_ID}#0"},
        {"number": "1"},
        {"at": NOW},
        {"data": {"amount": 90_000, "currency": "ETB"}},
        {"data": {"amount": "900", "currency": "ETB"}},
    ],
)
def test_the_schema_refuses_what_is_not_the_envelope(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            envelope(EventKey(ORDER_ID, 1), EVENTS["order.placed"]) | change, SCHEMA
        )


def test_an_amount_never_comes_without_its_currency() -> None:
    for fields in documented().values():
        assert ("amount" in fields) == ("currency" in fields)


def test_the_example_on_the_page_is_an_event() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    example = re.search(r"```json\n(.+?)```", page, re.DOTALL)
    assert example
    jsonschema.validate(json.loads(example[1]), SCHEMA)


def test_no_event_names_a_customer() -> None:
    everything = json.dumps([envelope(EventKey(ORDER_ID, 1), event) for event in EVENTS.values()])
    assert "abebe" not in everything
