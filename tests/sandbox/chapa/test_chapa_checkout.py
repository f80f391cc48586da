"""The page on which a person pays."""

import pytest
import requests

from sandbox.chapa.control import Control, ControlError
from sandbox.chapa.in_process import BASE_URL, ManualClock
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import Inbox, Merchant

RETURN = "http://shop.local/thanks?order=1"


def press(session: requests.Session, path: str, action: str) -> requests.Response:
    return session.post(BASE_URL + path, data={"action": action}, allow_redirects=False)


def test_the_page_shows_what_is_to_be_paid(merchant: Merchant, session: requests.Session) -> None:
    custom = {"title": "Shoes & <b>Co", "description": "One pair"}
    page = session.get(BASE_URL + merchant.checkout_path(amount="1500.5", customization=custom))
    assert page.status_code == 200
    for text in ("Shoes &amp; &lt;b&gt;Co", "One pair", "ETB", "1,500.50", "tx-1", "<form"):
        assert text in page.text


def test_looking_at_the_page_is_not_an_attempt(
    merchant: Merchant, session: requests.Session
) -> None:
    session.get(BASE_URL + merchant.checkout_path())
    assert merchant.verify().status_code == 404


@pytest.mark.parametrize(
    ("action", "status"),
    [("pay", "success"), ("fail", "failed/cancelled"), ("cancel", "failed/cancelled")],
)
def test_each_button_leads_back_to_the_shop(
    merchant: Merchant, session: requests.Session, action: str, status: str
) -> None:
    answer = press(session, merchant.checkout_path(return_url=RETURN), action)
    assert (answer.status_code, answer.headers["Location"]) == (303, RETURN)
    assert merchant.verify().json()["data"]["status"] == status


def test_the_way_back_can_carry_the_outcome(
    merchant: Merchant, session: requests.Session, control: Control
) -> None:
    control.switch(return_url="appended")
    answer = press(session, merchant.checkout_path(return_url=RETURN), "pay")
    reference = control.payment("tx-1")["reference"]
    expected = f"{RETURN}&trx_ref=tx-1&ref_id={reference}&status=success"
    assert answer.headers["Location"] == expected


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("pay", "Payment received"),
        ("fail", "The payment failed"),
        ("cancel", "Payment cancelled"),
    ],
)
def test_without_a_way_back_the_page_shows_the_outcome(
    merchant: Merchant, session: requests.Session, action: str, text: str
) -> None:
    path = merchant.checkout_path()
    answer = press(session, path, action)
    assert answer.status_code == 303
    assert answer.headers["Location"] == path
    assert text in session.get(BASE_URL + path).text


def test_a_failed_attempt_can_be_followed_by_a_success(
    merchant: Merchant, session: requests.Session, simulator: Simulator, inbox: Inbox
) -> None:
    path = merchant.checkout_path()
    press(session, path, "fail")
    press(session, path, "pay")
    assert merchant.verify().json()["data"]["status"] == "success"
    simulator.outbox.deliver_due()
    assert inbox.events == ["charge.failed/cancelled", "charge.success"]


def test_a_failed_attempt_can_be_retried_ten_times(
    merchant: Merchant, session: requests.Session
) -> None:
    path = merchant.checkout_path()
    for _ in range(11):
        assert press(session, path, "fail").status_code == 303
    answer = press(session, path, "pay")
    assert answer.status_code == 409
    assert "Too many attempts" in answer.text


def test_pressing_pay_twice_pays_once(
    merchant: Merchant, session: requests.Session, simulator: Simulator, inbox: Inbox
) -> None:
    path = merchant.checkout_path()
    assert press(session, path, "pay").status_code == 303
    assert press(session, path, "pay").status_code == 303
    simulator.outbox.deliver_due()
    assert inbox.events == ["charge.success"]


def test_a_paid_link_cannot_fail(merchant: Merchant, session: requests.Session) -> None:
    path = merchant.checkout_path()
    press(session, path, "pay")
    assert press(session, path, "fail").status_code == 409
    assert merchant.verify().json()["data"]["status"] == "success"


def test_a_link_expires_after_an_hour(
    merchant: Merchant, session: requests.Session, clock: ManualClock
) -> None:
    path = merchant.checkout_path()
    clock.advance(3599)
    assert "<form" in session.get(BASE_URL + path).text
    clock.advance(1)
    page = session.get(BASE_URL + path).text
    assert "This link has expired" in page
    assert "<form" not in page
    assert press(session, path, "pay").status_code == 409
    assert merchant.verify().status_code == 404


def test_the_life_of_a_link_can_be_set(
    merchant: Merchant, session: requests.Session, clock: ManualClock, control: Control
) -> None:
    control.set(link_minutes=5)
    path = merchant.checkout_path()
    clock.advance(300)
    assert "This link has expired" in session.get(BASE_URL + path).text


def test_a_link_cancelled_by_the_shop_cannot_be_paid(
    merchant: Merchant, session: requests.Session
) -> None:
    path = merchant.checkout_path()
    merchant.cancel()
    assert "Payment cancelled" in session.get(BASE_URL + path).text
    assert press(session, path, "pay").status_code == 409


def test_money_under_way_can_arrive_after_the_link_is_closed(
    merchant: Merchant, control: Control
) -> None:
    merchant.initialize()
    merchant.cancel()
    with pytest.raises(ControlError, match="409"):
        control.pay("tx-1")
    control.pay("tx-1", late=True)
    assert merchant.verify().json()["data"]["status"] == "success"


def test_an_unknown_link_or_button_is_refused(
    merchant: Merchant, session: requests.Session
) -> None:
    assert session.get(f"{BASE_URL}/checkout/payment/nothing").status_code == 404
    assert press(session, "/checkout/payment/nothing", "pay").status_code == 404
    assert press(session, merchant.checkout_path(), "steal").status_code == 400
