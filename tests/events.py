"""The schema of events and the tables of docs/events.md, from the event classes of the product."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAliasType, get_args, get_origin
from typing import get_type_hints as hints_of

from payments.domain.aggregate import Event
from payments.domain.events import EVENTS
from payments.usecases.publish import VERSION
from payments.web.views import AMOUNTS

TIME = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"}
AMOUNT = {"type": "string", "pattern": "^[0-9]+\\.[0-9]{2}$"}
PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
}

ENVELOPE: dict[str, dict[str, Any]] = {
    "version": {
        "description": "`1`. Fields and events may be added within a version; none is removed or"
        " changes its meaning.",
        "const": VERSION,
    },
    "id": {
        "description": "`<order_id>#<number>`. A repeated event has the same id.",
        "type": "string",
        "pattern": "^[a-z2-7]{12}#[1-9][0-9]*$",
    },
    "name": {
        "description": "The name of the event, from the tables below.",
        "type": "string",
        "pattern": "^[a-z]+[.][a-z]+$",
    },
    "order_id": {"description": "The order.", "type": "string", "pattern": "^[a-z2-7]{12}$"},
    "number": {
        "description": "Counts the events of one order from 1, without gaps.",
        "type": "integer",
        "minimum": 1,
    },
    "at": {"description": "When it happened, in ISO 8601, UTC, to the second."} | TIME,
    "data": {
        "description": "The fields that the tables below list for the event.",
        "type": "object",
    },
}

OUTSIDE = {"amount": "a decimal string with two digits, {}", "since": "{}, in ISO 8601, UTC"}
"""What consumers must know besides of fields that have another form inside."""


class Field(NamedTuple):
    """A field of an event's `data`, as consumers see it."""

    name: str
    schema: dict[str, Any]
    optional: bool


def fields_of(kind: type[Event]) -> Iterator[Field]:
    hints = hints_of(kind, include_extras=True)
    for field in fields(kind):
        if field.name == "at":
            continue
        hint, description = _described(hints[field.name])
        options = [each for each in get_args(hint) if each is not NoneType]
        optional = isinstance(hint, UnionType) and len(options) == 1
        schema = _schema(field.name, options[0] if optional else hint)
        description = OUTSIDE.get(field.name, "{}").format(description)
        described = {"description": f"{description[:1].upper()}{description[1:]}."}
        yield Field(field.name, described | schema, optional)


def _described(hint: Any) -> tuple[Any, str]:
    """The type and the words of an annotation."""
    while isinstance(hint, TypeAliasType):
        hint = hint.__value__
    if get_origin(hint) is Annotated:
        hint, description = get_args(hint)
        return hint, description
    return hint, ""


def _schema(name: str, hint: Any) -> dict[str, Any]:
    if name in AMOUNTS:
        return dict(AMOUNT)
    if name == "since":
        return dict(TIME)
    if hint in PLAIN:
        return dict(PLAIN[hint])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "minItems": 1, "items": _schema(name, arguments[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": PLAIN[arguments[1]]}
    assert is_dataclass(hint), f"no schema for {name}: {hint}"
    hints = hints_of(hint, include_extras=True)
    return {
        "type": "object",
        "required": list(hints),
        "properties": {key: _schema(key, _described(value)[0]) for key, value in hints.items()},
    }


def schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The detail of an EventBridge event, version {VERSION}",
        "type": "object",
        "required": list(ENVELOPE),
        "properties": ENVELOPE,
        "allOf": [
            {
                "description": kind.__doc__,
                "if": {"properties": {"name": {"const": name}}},
                "then": {"properties": {"data": _data(kind)}},
            }
            for name, kind in EVENTS.items()
        ],
    }


def _data(kind: type[Event]) -> dict[str, Any]:
    known = list(fields_of(kind))
    return {
        "required": [field.name for field in known if not field.optional],
        "properties": {field.name: field.schema for field in known},
    }


def meanings() -> dict[str, str]:
    """What each field of `data` means: the same in every event that has it."""
    found: dict[str, str] = {}
    for kind in EVENTS.values():
        for field in fields_of(kind):
            description = field.schema["description"]
            assert found.setdefault(field.name, description) == description, field.name
    return found


def tables() -> str:
    """The generated part of docs/events.md."""
    envelope = [f"| `{name}` | {each['description']} |" for name, each in ENVELOPE.items()]
    kinds: dict[str, list[str]] = {}
    for name, kind in EVENTS.items():
        shown = ", ".join(f"`{f.name}`{' (may be missing)' * f.optional}" for f in fields_of(kind))
        kinds.setdefault(name.partition(".")[0], []).append(
            f"| `{name}` | {kind.__doc__} | {shown} |"
        )
    data = [f"| `{name}` | {description} |" for name, description in meanings().items()]
    return "\n".join(
        [
            "",
            *_table("| Field | Value |", envelope),
            *(
                line
                for kind, rows in kinds.items()
                for line in (
                    f"## {TITLES[kind]}",
                    "",
                    *_table("| Name | Meaning | `data` |", rows),
                )
            ),
            "## Fields of `data`",
            "",
            *_table("| Field | Value |", data),
            "",
        ]
    )


TITLES = {"order": "Orders", "stock": "Stock", "payment": "Payments", "refund": "Refunds"}


def _table(head: str, rows: Iterable[str]) -> list[str]:
    return [head, "|---" * (head.count("|") - 1) + "|", *rows, ""]
