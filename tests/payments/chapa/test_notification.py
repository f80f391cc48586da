import json
from typing import Any

import pytest

from payments.chapa.notification import REFERENCES, Notification, read
from payments.errors import InvalidRequest

TX_REF = "abcdefghijklmnopqrst"
OTHER = "22222222222222222222"
EVENT = {"event": "charge.success"}
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("event", ["charge.success", "refund.success", "new.thing", "", None, 5])
@pytest.mark.parametrize("name", REFERENCES)
def test_reference_is_found_in_each_place_whatever_the_event(name: str, event: object) -> None:
    flat: dict[str, Any] = {"event": event, "status": "success", name: TX_REF}
    wrapped = {"event": event, "data": {name: TX_REF, "reference": "AP1"}}

    for content in (flat, wrapped, {name: TX_REF}, {"data": {name: TX_REF}}):
        assert read(json.dumps(content).encode()).tx_ref == TX_REF


@pytest.mark.parametrize(
    ("content", "tx_ref"),
    [
        ({"tx_ref": TX_REF, "data": {"tx_ref": OTHER}}, TX_REF),
        ({"tx_ref": "AP1", "trx_ref": TX_REF}, TX_REF),
        ({"tx_ref": "not ours", "data": {"merchant_reference": TX_REF}}, TX_REF),
        ({"tx_ref": None, "data": [TX_REF], "trx_ref": TX_REF}, TX_REF),
        ({}, None),
        ({"reference": TX_REF, "payload": {"tx_ref": TX_REF}}, None),
        ({"data": [{"tx_ref": TX_REF}]}, None),
        ({"data": {"data": {"tx_ref": TX_REF}}}, None),
        *(
            ({"tx_ref": value}, None)
            for value in (
                *(
                    "",
                    "AP1",
                    TX_REF[:19],
                    f"{TX_REF}a",
                    TX_REF.upper(),
                    f" {TX_REF}",
                    f"{TX_REF}\n",
                ),
                *("a" * 19 + "1", "አ" * 20, "\ud800" * 20, "ORDER#x", "chapa_refund_12345678"),
                *(None, 1, 1.5, True, [TX_REF], {"S": TX_REF}),
            )
        ),
    ],
)
def test_only_strings_of_our_shape_are_references(content: object, tx_ref: str | None) -> None:
    assert read(json.dumps(content).encode()) == Notification("", tx_ref)


@pytest.mark.parametrize(
    ("event", "name", "success"),
    [
        ("charge.success", "charge.success", True),
        ("payment.success", "payment.success", True),
        (" Charge.SUCCESS\t", "charge.success", True),
        *((name, name, False) for name in ("charge.failed/cancelled", "charge.refunded")),
        *((name, name, False) for name in ("refund.success", "payout.success", "success", "")),
        ("x" * 200, "x" * 100, False),
        *((value, "", False) for value in (None, 1, True, ["charge.success"], EVENT)),
    ],
)
def test_success_is_said_only_by_the_two_events_of_a_payment(
    event: object, name: str, success: bool
) -> None:
    notification = read(json.dumps({"event": event, "status": "success"}).encode())

    assert (notification.event, notification.says_success) == (name, success)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"5", b'"charge.success"', b"[]", b"{", b"event=charge.success", b"\xff"),
        f'[{{"tx_ref": "{TX_REF}"}}]'.encode(),
        DEEP.encode(),
        f'{{"tx_ref": "{TX_REF}", "meta": {DEEP}}}'.encode(),
        f'{{"tx_ref": "{TX_REF}", "amount": {"9" * 5_000}}}'.encode(),
    ],
    ids=lambda body: str(body[:20]),
)
def test_body_that_is_not_a_readable_object_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        read(body)


@pytest.mark.parametrize("number", ["9" * 4_000, "1e999999999", "-0.0", "NaN", "-Infinity"])
def test_odd_number_beside_the_reference_does_no_harm(number: str) -> None:
    body = f'{{"event": "charge.success", "amount": {number}, "tx_ref": "{TX_REF}"}}'

    assert read(body.encode()) == Notification("charge.success", TX_REF)
    assert read(f'{{"tx_ref": {number}, "event": {number}}}'.encode()) == Notification("", None)
