"""Promise 8: no secret and no customer data in any log line."""

import json
from collections.abc import Callable
from io import BytesIO, StringIO

import pytest
from requests import PreparedRequest, Response

from tests.shop import API_KEY, WEBHOOK_SECRET, Shop, http_event

CUSTOMER = {
    "first_name": "Derartu",
    "last_name": "Tulu-Bekoji",
    "email": "derartu@running.et",
    "phone_number": "0911223344",
}
PRIVATE = [API_KEY, WEBHOOK_SECRET, *CUSTOMER.values(), "911223344"]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_nothing_private_is_logged_whatever_happens(
    shop: Shop,
    log: StringIO,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    level: str,
) -> None:
    caplog.set_level(level, logger="tests")
    order_id = shop.order(customer=CUSTOMER).body["order_id"]
    faults = [
        ("initialize", "status", {"status": 401}),
        ("initialize", "malformed", {}),
        ("initialize", "reset", {}),
        ("initialize", "timeout_after", {"seconds": 1}),
    ]
    for call, kind, details in faults:
        shop.control.add_fault(call, kind, **details)  # type: ignore[arg-type]
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
    shop.http("checkout", http_event("POST", {"items": 1, "customer": CUSTOMER}))
    shop.order({"MUG": 1}, customer=CUSTOMER | {"email": "derartu"})

    def bug() -> None:
        raise RuntimeError("a bug")

    shop.before_aws("Query", bug)
    shop.pay(order_id)
    lines = log.getvalue() + capsys.readouterr().out + caplog.text
    assert "a bug" in log.getvalue()
    for word in PRIVATE:
        assert word not in lines


def test_a_provider_that_repeats_customer_data_is_not_quoted(shop: Shop, log: StringIO) -> None:
    order_id = shop.order(customer=CUSTOMER | {"email": "derartu@example.com"}).body["order_id"]
    assert shop.pay(order_id).code == "provider_rejected"
    lines = log.getvalue()
    assert '"fields":["email"]' in lines
    assert "derartu@example.com" not in lines


def test_a_provider_that_complains_of_fields_named_like_customers_is_not_quoted(
    shop: Shop, log: StringIO
) -> None:
    def complain(request: PreparedRequest, _send: Callable[[], Response]) -> Response:
        answer = Response()
        answer.status_code, answer.request = 400, request
        fields = {"email": ["bad"], CUSTOMER["email"]: ["bad"], CUSTOMER["phone_number"]: ["bad"]}
        answer.raw = BytesIO(json.dumps({"message": fields, "status": "failed"}).encode())
        return answer

    shop.chapa_connection.around = complain
    assert shop.pay(shop.order(customer=CUSTOMER).body["order_id"]).code == "provider_rejected"
    assert '"fields":["[removed]","[removed]","email"]' in log.getvalue()
    assert [word for word in PRIVATE if word in log.getvalue()] == []


def test_every_line_is_json(shop: Shop, log: StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    shop.begun()
    lines = log.getvalue().splitlines()
    assert lines
    for line in lines + capsys.readouterr().out.splitlines():
        assert isinstance(json.loads(line), dict)
