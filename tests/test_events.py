"""docs/events.schema.json and the tables of docs/events.md are those of the event classes.

`WRITE=1 python -m pytest tests/test_events.py` writes both.
"""

import ast
import json
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from payments.aws.items import EventKey, events_item, events_of
from payments.domain import decisions, events
from payments.domain.aggregate import Event
from payments.domain.events import EVENTS, SoldLine
from payments.domain.records import Line, Order, Payment, Refund
from payments.usecases.publish import envelope
from tests.events import fields_of, schema, tables
from tests.template import ROOT

PAGE = ROOT / "docs" / "events.md"
SCHEMA = PAGE.with_suffix(".schema.json")
NOW = 1_800_000_000
KEY = EventKey("7q43j6magdmz", 7)
VALUES: dict[str, Any] = {
    "amount": 90_000,
    "currency": "ETB",
    "since": NOW - 86_400,
    "lines": (SoldLine("COFFEE-250", "Coffee", 2, 45_000),),
    "units": {"COFFEE-250": 1},
    "refunded_by": "us",
    "reminder": False,
    "what": "status",
}


def example(kind: type[Event]) -> Event:
    names = [field.name for field in fields(kind) if field.name != "at"]
    return kind(at=NOW, **{name: VALUES.get(name, f"a {name}") for name in names})


def published(kind: type[Event]) -> dict[str, Any]:
    return envelope(KEY, example(kind))


VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_schema_and_page_are_those_of_the_event_classes() -> None:
    before, start, _, end, after = re.split("(<!-- .+ -->\n)", PAGE.read_text())
    wanted = {
        SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        PAGE: f"{before}{start}{tables()}{end}{after}",
    }
    if os.environ.get("WRITE"):
        for path, text in wanted.items():
            path.write_text(text)
    assert wanted == {path: path.read_text() for path in wanted}
    VALIDATOR.check_schema(schema())
    (shown,) = re.findall(r"```json\n(.+?)```", PAGE.read_text(), re.DOTALL)
    VALIDATOR.validate(json.loads(shown))


def test_every_event_class_is_used_by_the_domain() -> None:
    domain = Path(events.__file__).parent
    made = {
        node.func.id
        for path in domain.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert {kind.__name__ for kind in EVENTS.values()} <= made


@pytest.mark.parametrize("kind", EVENTS.values(), ids=EVENTS)
def test_event_has_exactly_its_listed_fields(kind: type[Event]) -> None:
    event = published(kind)
    VALIDATOR.validate(event)
    data = event["data"]
    assert [field.name for field in fields_of(kind)] == list(data)
    assert ("amount" in data) == ("currency" in data)
    for field in fields_of(kind):
        rest = event | {"data": {k: v for k, v in data.items() if k != field.name}}
        if field.optional:
            VALIDATOR.validate(rest)
            continue
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(rest)


@pytest.mark.parametrize("kind", EVENTS.values(), ids=EVENTS)
def test_stored_event_is_read_as_it_was(kind: type[Event]) -> None:
    event = example(kind)
    assert events_of(events_item(KEY, [event], NOW)) == [event]


@pytest.mark.parametrize("wrong", [{"amount": 90_000}, {"amount": "900"}, {"currency": 978}])
def test_schema_refuses_wrong_values(wrong: dict[str, Any]) -> None:
    placed = published(EVENTS["order.placed"])
    changes: list[dict[str, Any]] = [{"version": 2}, {"id": f"{KEY.order_id}#0"}, {"number": "1"}]
    for change in [*changes, {"at": NOW}, {"data": placed["data"] | wrong}]:
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(placed | change)


def test_no_event_names_the_customer() -> None:
    lines = (Line("COFFEE-250", "Coffee", 2, 45_000),)
    buyer = {"first_name": "Abebe", "email": "abebe@shop.example", "phone_number": "0911928374"}
    order = Order(KEY.order_id, "abebe", 90_000, "ETB", lines, NOW, NOW + 1800, "hash", buyer)
    payment = Payment("tx", "chapa-v1", 90_000, "ETB", NOW)
    refund = Refund("refund", "tx", 90_000, "ETB", NOW, reason="abebe@shop.example asked for it")
    # The constructors that see whole records; the others are given ids, amounts and reasons.
    made = [
        *decisions.place(order).new_events,
        events.order_paid(order, payment, NOW),
        events.refund_requested(refund, NOW),
    ]
    text = json.dumps([envelope(KEY, event) for event in made]).lower()
    assert "coffee-250" in text
    assert not [word for word in ("abebe", "0911") if word in text]
