"""`./operate provider-check`: v1 on the simulator, v2 on recorded answers."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from requests import PreparedRequest

from operators.provider_check import provider_check
from payments.errors import InvalidRequest
from payments.usecases.backend import Backend
from tests.payments.chapa.builders import Net
from tests.payments.chapa.test_v2 import ITEM, MISSING, OPENED, URL, ApiV2, error, listed
from tests.shop import API_KEYS, Shop

V1, V2 = API_KEYS["chapa-v1"], API_KEYS["chapa-v2"]


def not_as_assumed(rows: list[dict[str, Any]]) -> list[str]:
    return [row["check"] for row in rows if row["as_assumed"] != "yes"]


@pytest.fixture
def only_v1(shop: Shop) -> Shop:
    shop.set_secret(api_key=V1, api_key_other="")
    shop.configure()
    return shop


@pytest.mark.parametrize("unpaid", ["404", "404_null_string", "pending", "400"])
def test_v1_account_that_answers_as_assumed(only_v1: Shop, unpaid: str) -> None:
    only_v1.control.switch(verify_unpaid=unpaid)
    rows = provider_check(only_v1.backend)
    assert not_as_assumed(rows) == []
    assert {row["provider"] for row in rows} == {"chapa-v1"}
    assert [row["check"] for row in rows] == [
        "open, reference of 20",
        "verify before payment",
        "same reference again",
        "open, reference of 21",
        "open, reference of 45",
        "verify unknown",
        "cancel",
        "verify after cancel",
        "list",
        "row of the list",
    ]


def test_account_that_answers_otherwise_is_shown(only_v1: Shop) -> None:
    only_v1.control.add_fault("cancel", "status", status=404)
    only_v1.control.add_fault("verify", "timeout_before", seconds=60)
    rows = provider_check(only_v1.backend)
    assert not_as_assumed(rows) == ["verify before payment", "cancel"]
    answers = {row["check"]: row["answer"] for row in rows}
    assert answers["verify before payment"] == "no answer: no answer in time"
    assert answers["cancel"].startswith("404")


@pytest.mark.parametrize("key", ["CHASECK-0123456789abcdef", "CHAPA_LIVE_PRIV_0123456789abcdef"])
def test_live_key_is_refused_before_any_call(shop: Shop, key: str) -> None:
    shop.set_secret(api_key=key, api_key_other="")
    shop.configure(chapa_url="", chapa_url_other="")
    with pytest.raises(InvalidRequest, match="test key only"):
        provider_check(shop.backend)
    assert not shop.simulator.journal.entries()


def account(client: object) -> Backend:
    """As much of a backend as the check uses."""
    secret = SimpleNamespace(mode="test", api_keys={"chapa-v2": "x"})
    secrets = SimpleNamespace(current=lambda: secret)
    return cast("Backend", SimpleNamespace(secrets=secrets, providers={"chapa-v2": client}))


class V2Account:
    """Answers as the product assumes, but for `answers` by check."""

    def __init__(self) -> None:
        self.opened: set[str] = set()
        self.longest = 20
        self.page = OPENED
        self.row = ITEM

    def __call__(self, request: PreparedRequest) -> tuple[int, dict[str, str], str]:
        code, body = self.answer(str(request.url), json.loads(request.body or "null"))
        return code, {}, json.dumps(body)

    def answer(self, url: str, body: Any) -> tuple[int, Any]:
        if body is not None:
            return self.open(body)
        if "?" in url:
            return 200, listed(self.row)
        reference = url.split("/")[-2]
        if reference not in {*self.opened, "TESTI89728391f"}:
            return 404, MISSING
        [ours] = [one for one in self.opened if reference in {one, "TESTI89728391f"}]
        return 200, {"status": "success", "data": {"status": "PENDING", "merchant_reference": ours}}

    def open(self, body: Any) -> tuple[int, Any]:
        reference = body["merchant_reference"]
        if len(reference) > self.longest:
            return 500, error("PROCESSING_FAILED", "Failed to initialize payment")
        if reference in self.opened:
            return 400, error("INVALID_STATE", "Merchant reference has been used before")
        if not isinstance(body["amount"], int) or body["amount"] < 100:
            return 400, error("INVALID_VALUE")
        self.opened = self.opened or {reference}
        return 200, self.page


@pytest.fixture
def v2_account() -> Iterator[V2Account]:
    answers = V2Account()
    with Net(assert_all_requests_are_fired=False) as net:
        net.add_callback("POST", f"{URL}/payments/hosted", answers)
        net.add_callback("GET", re.compile(re.escape(URL)), answers)
        yield answers


def test_v2_account_that_answers_as_assumed(v2_account: V2Account) -> None:
    rows = provider_check(account(ApiV2().client))
    assert not_as_assumed(rows) == []
    assert {"verify by Chapa's reference", "verify by ours", "cancel", "open, amount 99"} <= {
        row["check"] for row in rows
    }
    fields = next(row["answer"] for row in rows if row["check"] == "answer of open")
    assert fields == "checkout_url, created_at, expires_at"


def test_list_without_what_a_comparison_needs_is_shown(v2_account: V2Account) -> None:
    v2_account.row = {name: value for name, value in ITEM.items() if name != "created_at"}
    assert not_as_assumed(provider_check(account(ApiV2().client))) == ["row of the list"]


def test_v2_account_that_takes_longer_references_is_shown(v2_account: V2Account) -> None:
    v2_account.longest = 21
    v2_account.page = OPENED | {"data": {"checkout_url": "https://x/TESTI89728391f"}}
    rows = provider_check(account(ApiV2().client))
    assert not_as_assumed(rows) == ["answer of open", "open, reference of 21"]
