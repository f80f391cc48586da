"""Lists of v1, and the exact requests of a public client."""

from typing import Any

from tests.sandbox.chapa.merchant import TEST_KEY, LocalMerchant

AXIOS = {
    "Accept": "application/json, text/plain, */*",
    "Content-Type": "application/json",
    "Authorization": f"Bearer {TEST_KEY}",
}
"""Headers that chapa-nodejs 2.1.1 sends; a GET has no Content-Type."""


def node(merchant: LocalMerchant, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
    """One request of chapa-nodejs 2.1.1 and the `data` of its answer."""
    sent = AXIOS | headers
    if method == "GET":
        del sent["Content-Type"]
    response = merchant.call(method, path, headers=sent, data=body)
    assert response.status_code == 200
    return response.json()["data"]


def test_chapa_nodejs_passes_initialize_verify_and_refund(merchant: LocalMerchant) -> None:
    opened = node(
        merchant,
        "POST",
        "/transaction/initialize",
        b'{"first_name":"Abebe","last_name":"Bikila","email":"abebe@gmail.com",'
        b'"phone_number":"0911234567","currency":"ETB","amount":"100",'
        b'"tx_ref":"TX-VINQVJFHXZPIEJ8","return_url":"https://shop.et/thanks",'
        b'"customization":{"title":"Shoes","description":"One pair"}}',
    )
    assert merchant.session.get(opened["checkout_url"]).status_code == 200
    merchant.control.pay("TX-VINQVJFHXZPIEJ8")
    paid = node(merchant, "GET", "/transaction/verify/TX-VINQVJFHXZPIEJ8")
    assert (paid["status"], paid["amount"]) == ("success", 100)
    refund = node(
        merchant,
        "POST",
        "/refund/TX-VINQVJFHXZPIEJ8",
        b"amount=40&reason=late&meta=%7B%22order%22%3A%22o-1%22%7D&reference=r-1",
        **{"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (refund["amount"], refund["merchant_reference"]) == ("40.00", "r-1")
    mobile = b'{"currency":"ETB","amount":"100","tx_ref":"TX-2","return_url":"https://shop.et/"}'
    assert node(merchant, "POST", "/transaction/mobile-initialize", mobile)["checkout_url"]


def test_chapa_nodejs_reads_transactions_events_and_banks(merchant: LocalMerchant) -> None:
    reference = merchant.paid()
    [row] = node(merchant, "GET", "/transactions")["transactions"]
    assert row["ref_id"] == reference
    for known in (reference, "tx-1"):
        events = node(merchant, "GET", f"/transaction/events/{known}")
        assert [event["message"] for event in events] == [
            "Transaction is initialized",
            "Transaction is success",
        ]
        assert events[0].keys() == {"item", "message", "type", "created_at", "updated_at"}
    banks = node(merchant, "GET", "/banks")
    assert {bank["id"] for bank in banks} == {130, 855, 946}
    assert merchant.call("GET", "/transaction/events/unknown").status_code == 404


def test_currencies_are_numbered(merchant: LocalMerchant) -> None:
    body = merchant.call("GET", "/currency_supported").json()
    assert body == {"status": "success", "currency_code": [1, 2], "currency_name": ["ETB", "USD"]}


def test_lists_need_a_key(merchant: LocalMerchant) -> None:
    for path in ("/transactions", "/transaction/events/tx-1", "/banks", "/currency_supported"):
        assert merchant.call("GET", path, key="").status_code == 401


def test_listed_transaction_has_chapas_reference_and_three_decimals(
    merchant: LocalMerchant,
) -> None:
    reference = merchant.paid(amount="1500.5", first_name="Abebe", phone_number="0911234567")
    [row] = merchant.call("GET", "/transactions").json()["data"]["transactions"]
    assert row == {
        "status": "success",
        "ref_id": reference,
        "type": "API",
        "created_at": "2026-11-22T09:00:00.000000Z",
        "currency": "ETB",
        "amount": "1500.500",
        "charge": "52.520",
        "trans_id": None,
        "payment_method": "test",
        "customer": {
            "id": 1,
            "email": None,
            "first_name": "Abebe",
            "last_name": None,
            "mobile": "0911234567",
        },
    }


def test_all_pages_of_the_transactions_have_each_payment_once(merchant: LocalMerchant) -> None:
    references = [merchant.paid(f"tx-{number}") for number in range(4)]
    merchant.initialize("tx-unpaid")
    found, path = [], "/transactions?per_page=2"
    pages = []
    while path:
        data = merchant.call("GET", path).json()["data"]
        found += [(row["ref_id"], row["status"]) for row in data["transactions"]]
        pages.append(data["pagination"])
        path = (data["pagination"]["next_page_url"] or "").partition("/v1")[2]
    assert [status for _, status in found] == ["pending", *["success"] * 4]
    assert [ref for ref, _ in found[1:]] == references[::-1]
    assert [page["current_page"] for page in pages] == [1, 2, 3]
    assert pages[0]["prev_page_url"] is None
    assert pages[1]["prev_page_url"] == pages[1]["first_page_url"]
    assert merchant.call("GET", "/transactions").json()["data"]["pagination"]["per_page"] == 10


def test_list_follows_the_switches(merchant: LocalMerchant) -> None:
    references = [merchant.paid(f"tx-{number}") for number in range(2)]
    merchant.control.switch(list_order="oldest", list_tx_ref="present")
    rows = merchant.call("GET", "/transactions").json()["data"]["transactions"]
    assert [(row["ref_id"], row["tx_ref"]) for row in rows] == [
        (reference, f"tx-{number}") for number, reference in enumerate(references)
    ]


def test_list_can_have_a_fault(merchant: LocalMerchant) -> None:
    merchant.control.add_fault("list", "status", status=500, times=2)
    assert merchant.call("GET", "/transactions").status_code == 500
    assert merchant.v2.call("GET", "/payments").status_code == 500
