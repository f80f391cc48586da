"""What an account at Chapa really answers, beside what the product assumes.

Only calls that move no money, and only with a test key: some of them open a checkout page that
nobody pays.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from payments.chapa.calls import ROWS, Calls, in_path, moment_of
from payments.chapa.keys import V1
from payments.chapa.v2 import MAX_REFERENCE, MIN_AMOUNT
from payments.domain.ids import new_order_id
from payments.errors import InvalidRequest, ProviderError
from payments.settings import Settings
from payments.telemetry import scrub
from payments.usecases.backend import Backend

SECONDS = 25.0
"""How long one call may take."""

TOLERANCE_SECONDS = 60
"""Chapa's times may be rounded."""

PHONE_NUMBER = "+251900000000"
"""In the form that payments are opened with; it is the number of one integrator's tests."""

ACCEPTED = {200, 201, 202}

OF_EVERY_LIST = ("amount", "created_at", "currency", "status")


@dataclass(frozen=True)
class Answer:
    code: int
    content: Mapping[str, Any]

    def at(self, *path: str) -> Any:
        """A value inside of the body; None if it is not there."""
        found: Any = self.content
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    @property
    def words(self) -> str:
        message = self.at("message")
        parts = (
            self.at("error", "code"),
            self.at("data", "status"),
            message if isinstance(message, str) else json.dumps(message, ensure_ascii=False),
        )
        return scrub(f"{self.code} {' '.join(str(part) for part in parts if part)}", 120)


type Fits = Callable[[Answer], bool]


@dataclass
class Account:
    """One version's account, and what it has answered."""

    client: Calls
    settings: Settings
    rows: list[dict[str, Any]] = field(default_factory=list)

    def ask(
        self, what: str, assumed: str, fits: Fits, method: str, path: str, **content: Any
    ) -> Answer | None:
        answer = None
        try:
            code, body = self.client.send("check", method, path, SECONDS, **content)
        except ProviderError as error:
            self.row(what, f"no answer: {error.reason}", assumed, as_assumed=False)
        else:
            answer = Answer(code, _object(body))
            self.row(what, answer.words, assumed, as_assumed=fits(answer))
        return answer

    def page(self, opened: Answer | None) -> str | None:
        """The address of the page that was opened. Customers are sent to known hosts only."""
        url = opened.at("data", "checkout_url") if opened is not None else None
        if not isinstance(url, str):
            return None
        host, hosts = urlsplit(url).netloc, self.settings.checkout_hosts
        known = "*" in hosts or host.lower() in hosts
        self.row("host of the page", host, ", ".join(hosts), as_assumed=known)
        return url

    def row(self, what: str, answer: str, assumed: str, *, as_assumed: bool) -> None:
        self.rows.append(
            {
                "provider": self.client.name,
                "check": what,
                "answer": answer,
                "assumed": assumed,
                "as_assumed": "yes" if as_assumed else "NO",
            }
        )


def provider_check(backend: Backend) -> list[dict[str, Any]]:
    """Check each account that the secret has a key of. Raises InvalidRequest for a live key."""
    secret = backend.secrets.current()
    if secret.mode != "test":
        raise InvalidRequest("This opens payments, so it works with a test key only.")
    return [row for name in sorted(secret.api_keys) for row in _rows(backend, name)]


def _rows(backend: Backend, name: str) -> Iterator[dict[str, Any]]:
    client = backend.providers[name]
    assert isinstance(client, Calls)  # noqa: S101 - every version is one
    account = Account(client, backend.settings)
    (_check_v1 if name == V1.provider else _check_v2)(account)
    yield from account.rows


def _check_v1(account: Account) -> None:
    def open_(what: str, reference: str, assumed: str, fits: Fits) -> Answer | None:
        body = {"amount": "1.05", "currency": "ETB", "tx_ref": reference}
        return account.ask(what, assumed, fits, "POST", "/transaction/initialize", json=body)

    def verify(what: str, reference: str, assumed: str, fits: Fits) -> None:
        account.ask(what, assumed, fits, "GET", f"/transaction/verify/{in_path(reference)}")

    reference = _reference(20)
    account.page(open_("open, reference of 20", reference, "200 and a checkout_url", _has_page))
    verify("verify before payment", reference, "404, or 200 pending", _unpaid)
    open_("same reference again", reference, "refused as used before", _used_before)
    for length in (21, 45):
        open_(f"open, reference of {length}", _reference(length), "as with 20", _has_page)
    unknown = _reference(20)
    verify("verify unknown", unknown, "404 or 400", lambda a: a.code in {400, 404})
    path = f"/transaction/cancel/{in_path(reference)}"
    account.ask("cancel", "2xx", lambda a: 200 <= a.code < 300, "PUT", path)
    verify("verify after cancel", reference, "failed or cancelled, or 404", _unpaid)
    path = f"/transactions?page=1&per_page={ROWS}"
    listed = account.ask("list", "200 and transactions", _has_transactions, "GET", path)
    rows = listed.at("data", "transactions") if listed is not None else None
    _check_rows(account, rows, {"ref_id", *OF_EVERY_LIST})


def _check_v2(account: Account) -> None:
    def open_(what: str, reference: str, assumed: str, fits: Fits, **more: object) -> Answer | None:
        body = {"amount": 105, "currency": "ETB", "merchant_reference": reference, **more}
        headers = {"Idempotency-Key": reference}
        return account.ask(
            what, assumed, fits, "POST", "/payments/hosted", json=body, headers=headers
        )

    def verify(what: str, reference: str, assumed: str, fits: Fits) -> None:
        account.ask(what, assumed, fits, "GET", f"/payments/{in_path(reference)}/verify")

    ours = _reference(MAX_REFERENCE)
    opened = open_("open, reference of 20", ours, "200 and a checkout_url", _has_page)
    pending = "200 pending, our reference, and mode test or none"
    if opened is not None and (url := account.page(opened)):
        fields = sorted(opened.content["data"])
        ends = "expires_at" in fields
        account.row("answer of open", ", ".join(fields), "with expires_at", as_assumed=ends)
        created, ends_at = (moment_of(opened.at("data", n)) for n in ("created_at", "expires_at"))
        if created and ends_at:
            lives, link = ends_at - created, account.settings.link_seconds
            near = abs(lives - link) <= TOLERANCE_SECONDS
            account.row("life of the page", f"{lives} s", f"{link} s, LinkSeconds", as_assumed=near)
        theirs = opened.at("data", "chapa_reference") or url.rstrip("/").rpartition("/")[2]
        verify("verify by Chapa's reference", theirs, pending, _pending(ours))
    verify("verify by ours", ours, pending, _pending(ours))
    path = f"/payments?reference={in_path(ours)}"
    account.ask("list by ours", "200 and items", _has_items, "GET", path)
    # With the same Idempotency-Key: an account that honours it returns the first answer.
    open_("same reference again", ours, "INVALID_STATE", _has_code("INVALID_STATE"))
    customer = {"phone_number": PHONE_NUMBER}
    another = _reference(MAX_REFERENCE)
    open_("open, with a phone number", another, "as without", _has_page, customer=customer)
    for length in (21, 45):
        assumed, fits = "500 PROCESSING_FAILED", _has_code("PROCESSING_FAILED")
        open_(f"open, reference of {length}", _reference(length), assumed, fits)
    least = _reference(MAX_REFERENCE)
    open_(f"open, amount {MIN_AMOUNT}", least, "as with 105", _has_page, amount=MIN_AMOUNT)
    less = _reference(MAX_REFERENCE)
    refused = _has_code("INVALID_VALUE")
    open_(f"open, amount {MIN_AMOUNT - 1}", less, "INVALID_VALUE", refused, amount=MIN_AMOUNT - 1)
    birr = _reference(MAX_REFERENCE)
    open_("open, amount 105.5", birr, "refused", lambda a: a.code not in ACCEPTED, amount=105.5)
    unknown = _reference(MAX_REFERENCE)
    verify("verify unknown", unknown, "404 NOT_FOUND", _has_code("NOT_FOUND"))
    account.row("cancel", "not asked", "v2 has no cancel", as_assumed=True)
    path = f"/payments?per_page={ROWS}&limit={ROWS}"
    listed = account.ask("list of payments", "200 and items", _has_items, "GET", path)
    rows = listed.at("data", "items") if listed is not None else None
    _check_rows(account, rows, {"merchant_reference", *OF_EVERY_LIST})
    path = f"/refunds?per_page={ROWS}&limit={ROWS}"
    account.ask("list of refunds", "200 and items", _has_items, "GET", path)


def _check_rows(account: Account, rows: Any, assumed: set[str]) -> None:
    """What the first row of a list has; `compare` needs it."""
    first = rows[0] if isinstance(rows, list) and rows else None
    if isinstance(first, dict):
        fields = ", ".join(sorted(map(str, first)))
        fits = assumed <= first.keys()
        account.row("row of the list", fields, ", ".join(sorted(assumed)), as_assumed=fits)


def _reference(length: int) -> str:
    return "".join(new_order_id(os.urandom) for _ in range(4))[:length]


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _has_page(answer: Answer) -> bool:
    return answer.code in ACCEPTED and isinstance(answer.at("data", "checkout_url"), str)


def _has_transactions(answer: Answer) -> bool:
    return answer.code == 200 and isinstance(answer.at("data", "transactions"), list)


def _has_items(answer: Answer) -> bool:
    return answer.code == 200 and isinstance(answer.at("data", "items"), list)


def _has_code(code: str) -> Fits:
    return lambda answer: answer.at("error", "code") == code


def _used_before(answer: Answer) -> bool:
    return "used before" in str(answer.at("message")).lower()


def _unpaid(answer: Answer) -> bool:
    said = str(answer.at("data", "status")).lower()
    return answer.code in {400, 404} or (answer.code == 200 and "success" not in said)


def _pending(reference: str) -> Fits:
    return lambda answer: (
        answer.code == 200
        and str(answer.at("data", "status")).lower() == "pending"
        and answer.at("data", "merchant_reference") == reference
        and answer.at("data", "mode") in {None, "test"}
    )
