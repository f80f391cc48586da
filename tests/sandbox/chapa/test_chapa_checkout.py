"""The checkout page."""

import pytest
import requests

from sandbox.chapa.control import ControlError
from sandbox.chapa.in_process import BASE_URL
from tests.sandbox.chapa.merchant import LocalMerchant

RETURN = "http://shop.local/thanks?order=1"


def get(merchant: LocalMerchant, path: str) -> requests.Response:
    return merchant.session.get(BASE_URL + path)


def press(merchant: LocalMerchant, path: str, button: str) -> requests.Response:
    url = BASE_URL + path
    return merchant.session.post(url, data={"action": button}, allow_redirects=False)


def test_page_shows_the_payment_and_is_no_attempt(merchant: LocalMerchant) -> None:
    custom = {"title": "Shoes & <b>Co", "description": "One pair"}
    page = get(merchant, merchant.checkout_path(amount="1500.5", customization=custom))
    assert page.status_code == 200
    for text in ("Shoes &amp; &lt;b&gt;Co", "One pair", "ETB", "1,500.50", "tx-1", "<form"):
        assert text in page.text
    assert merchant.verify().status_code == 404


@pytest.mark.parametrize(
    ("button", "status", "text"),
    [
        ("pay", "success", "Payment received"),
        ("fail", "failed/cancelled", "The payment failed"),
        ("cancel", "failed/cancelled", "Payment cancelled"),
    ],
)
def test_button_returns_to_the_shop_or_shows_the_outcome(
    merchant: LocalMerchant, button: str, status: str, text: str
) -> None:
    response = press(merchant, merchant.checkout_path(return_url=RETURN), button)
    assert (response.status_code, response.headers["Location"]) == (303, RETURN)
    assert merchant.status() == status
    path = merchant.checkout_path("tx-2")
    response = press(merchant, path, button)
    assert (response.status_code, response.headers["Location"]) == (303, path)
    assert text in get(merchant, path).text


def test_return_url_carries_the_outcome_if_switched(merchant: LocalMerchant) -> None:
    merchant.control.switch(return_url="appended")
    response = press(merchant, merchant.checkout_path(return_url=RETURN), "pay")
    reference = merchant.control.payment("tx-1")["reference"]
    expected = f"{RETURN}&trx_ref=tx-1&ref_id={reference}&status=success"
    assert response.headers["Location"] == expected


def test_second_click_on_pay_after_a_failure_changes_nothing(merchant: LocalMerchant) -> None:
    path = merchant.checkout_path()
    for button in ("fail", "pay", "pay"):
        assert press(merchant, path, button).status_code == 303
    assert merchant.status() == "success"
    merchant.deliver()
    assert merchant.events == ["charge.failed/cancelled", "charge.success"]
    assert press(merchant, path, "fail").status_code == 409
    assert merchant.status() == "success"


def test_link_expires_after_an_hour_or_the_set_time(merchant: LocalMerchant) -> None:
    hour = merchant.checkout_path()
    merchant.control.set(link_minutes=5)
    for path, seconds in ((merchant.checkout_path("tx-2"), 300), (hour, 3300)):
        merchant.clock.advance(seconds - 1)
        assert "<form" in get(merchant, path).text
        merchant.clock.advance(1)
        page = get(merchant, path).text
        assert "This link has expired" in page
        assert "<form" not in page
        assert press(merchant, path, "pay").status_code == 409
    assert merchant.verify().status_code == 404


def test_failed_attempt_can_be_repeated_ten_times(merchant: LocalMerchant) -> None:
    path = merchant.checkout_path()
    codes = [press(merchant, path, "fail").status_code for _ in range(11)]
    assert codes == [303] * 11
    response = press(merchant, path, "pay")
    assert response.status_code == 409
    assert "Too many attempts" in response.text


def test_cancelled_link_can_only_be_paid_late(merchant: LocalMerchant) -> None:
    path = merchant.checkout_path()
    merchant.cancel()
    assert "Payment cancelled" in get(merchant, path).text
    assert press(merchant, path, "pay").status_code == 409
    with pytest.raises(ControlError, match="409"):
        merchant.control.pay("tx-1")
    merchant.control.pay("tx-1", late=True)
    assert merchant.status() == "success"


def test_unknown_link_or_button_is_refused(merchant: LocalMerchant) -> None:
    assert get(merchant, "/checkout/payment/nothing").status_code == 404
    assert press(merchant, "/checkout/payment/nothing", "pay").status_code == 404
    assert press(merchant, merchant.checkout_path(), "steal").status_code == 400
