"""Invariant 8: no secret and no customer data in any log line."""

import json
from collections.abc import Callable
from io import BytesIO, StringIO

import pytest
from requests import PreparedRequest
from requests import Response as ChapaResponse

from tests.forgeries import CUSTOMER, PRIVATE
from tests.shop import API_KEY, WEBHOOK_SECRET, Shop, http_event


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_logs_hold_no_secret_and_no_customer_data_when_calls_fail(
    shop: Shop,
    log: StringIO,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    level: str,
) -> None:
    caplog.set_level(level, logger="tests")
    order_id = shop.order(customer=CUSTOMER).body["order_id"]
    shop.control.add_fault("initialize", "status", status=401)
    shop.pay(order_id)
    for kind in ("malformed", "reset"):
        shop.control.add_fault("initialize", kind)
        shop.pay(order_id)
    shop.control.add_fault("initialize", "timeout_after", seconds=1)
    shop.pay(order_id)
    tx_ref = shop.pay(order_id).body["tx_ref"]
    for kind in ("malformed", "html", "reset", "wrong_amount"):
        shop.control.add_fault("verify", kind)  # type: ignore[arg-type]
        shop.notify(tx_ref)
        shop.clock.advance(3)
    shop.control.pay(tx_ref)
    shop.deliver()
    shop.webhook({"event": "charge.success", **CUSTOMER}, sign_with="wrong")
    shop.webhook({"event": 7, **CUSTOMER})
    shop.http("orders", http_event("POST", {"items": 1, "customer": CUSTOMER}))
    shop.order({"MUG": 1}, customer=CUSTOMER | {"email": "derartu"})

    def bug() -> None:
        raise RuntimeError("a bug")

    shop.before_aws("Query", bug)
    shop.pay(order_id)
    lines = log.getvalue() + capsys.readouterr().out + caplog.text
    assert "a bug" in log.getvalue()
    assert [word for word in (API_KEY, WEBHOOK_SECRET, *PRIVATE) if word in lines] == []


def test_refused_customer_data_is_not_logged(shop: Shop, log: StringIO) -> None:
    order_id = shop.order(customer=CUSTOMER | {"email": "derartu@example.com"}).body["order_id"]
    assert shop.pay(order_id).status == 201
    assert '"fields":["email"]' in log.getvalue()
    assert "derartu@example.com" not in log.getvalue()


def test_customer_data_in_field_names_of_chapa_is_not_logged(shop: Shop, log: StringIO) -> None:
    def refuse(request: PreparedRequest, _send: Callable[[], ChapaResponse]) -> ChapaResponse:
        response = ChapaResponse()
        response.status_code, response.request = 400, request
        fields = {"email": ["bad"], CUSTOMER["email"]: ["bad"], CUSTOMER["phone_number"]: ["bad"]}
        response.raw = BytesIO(json.dumps({"message": fields, "status": "failed"}).encode())
        return response

    shop.chapa_connection.around = refuse
    assert shop.pay(shop.order(customer=CUSTOMER).body["order_id"]).code == "provider_rejected"
    assert '"fields":["[removed]","[removed]","email"]' in log.getvalue()
    assert [word for word in PRIVATE if word in log.getvalue()] == []


def test_every_log_line_is_json(
    shop: Shop, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.begun()
    lines = log.getvalue().splitlines()
    assert lines
    for line in lines + capsys.readouterr().out.splitlines():
        assert isinstance(json.loads(line), dict)


def test_each_decision_and_each_event_is_one_line_that_says_what_moved(
    shop: Shop, log: StringIO
) -> None:
    order_id, tx_ref = shop.begun()
    assert shop.notify(tx_ref).body == {"outcome": "deferred"}
    shop.clock.advance(3)
    shop.control.pay(tx_ref, webhook=False)
    assert shop.notify(tx_ref).body == {"outcome": "applied"}
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {line["order_id"] for line in lines} == {order_id}
    story = [
        (
            line["message"],
            line.get("what"),
            line.get("outcome"),
            line.get("from"),
            line.get("to"),
            *line.get("provider_ms", ()),
        )
        for line in lines
    ]
    assert story == [
        ("order.placed", None, None, None, "pending"),
        ("decision", "open", "opened", "initializing", "pending", "open"),
        ("decision", "check", "open", "pending", "pending", "verify"),
        ("webhook", None, "deferred", None, None),
        ("payment.succeeded", None, None, "pending", "succeeded", "verify"),
        ("order.paid", None, None, "pending", "paid", "verify"),
        ("decision", "check", "applied", "pending", "succeeded", "verify"),
        ("webhook", None, "applied", None, None),
    ]
    assert (lines[0]["amount"], lines[0]["currency"]) == ("900.00", "ETB")
