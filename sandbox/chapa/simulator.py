"""Chapa's state, and everything that can happen to a payment or a refund.

A payment is `unpaid` until the first attempt to pay. All times are UTC.
"""

import copy
import random
import string
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from sandbox.chapa import events
from sandbox.chapa.faults import CALLBACK, SUCCESS_ONLY, WEBHOOK, Fault, Faults, Forgery
from sandbox.chapa.journal import Journal
from sandbox.chapa.outbox import Clock, Delivery, Message, Outbox, Send, send_over_http
from sandbox.chapa.settings import Settings

type Mode = Literal["test", "live"]
type Status = Literal["unpaid", "pending", "success", "failed", "refunded", "reversed"]
type RefundStatus = Literal["initiated", "processing", "refunded", "reversed"]

ALPHANUMERIC = string.ascii_letters + string.digits
CHARGE_RATE = Decimal("0.035")
RETRIES = 10
HELD_AT_ONCE = 64
FAILED = "failed/cancelled"
CENT = Decimal("0.01")


class NotNowError(Exception):
    """The state of the payment does not allow this."""


@dataclass
class Refund:
    ref_id: str
    tx_ref: str
    payment_reference: str
    merchant_reference: str | None
    amount: Decimal
    currency: str
    reason: str | None
    meta: Any
    created_at: datetime
    updated_at: datetime
    status: RefundStatus = "initiated"
    checks: int = 0


@dataclass
class Payment:
    tx_ref: str
    mode: Mode
    api_key: str = field(repr=False)
    token: str
    reference: str
    amount: Decimal
    currency: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone_number: str | None = None
    callback_url: str | None = None
    return_url: str | None = None
    title: str | None = None
    description: str | None = None
    logo: str | None = None
    meta: Any = None
    status: Status = "unpaid"
    cancelled: bool = False
    failures: int = 0
    hidden_checks: int = 0
    hidden_until: datetime | None = None
    refunds: list[Refund] = field(default_factory=list)

    @property
    def customization(self) -> dict[str, str | None]:
        return {"title": self.title, "description": self.description, "logo": self.logo}

    @property
    def method(self) -> str | None:
        if self.status == "unpaid":
            return None
        return "test" if self.mode == "test" else "telebirr"

    @property
    def charge(self) -> Decimal:
        return (self.amount * CHARGE_RATE).quantize(CENT, ROUND_HALF_UP)

    @property
    def paid(self) -> bool:
        return self.status in ("success", "refunded", "reversed")

    @property
    def refundable(self) -> Decimal:
        taken = sum((r.amount for r in self.refunds if r.status != "reversed"), Decimal(0))
        return self.amount - taken

    def closed(self, now: datetime) -> str | None:
        """Why the link can no longer be paid; None while it can."""
        if self.paid:
            return "paid"
        if self.cancelled:
            return "cancelled"
        if now >= self.expires_at:
            return "expired"
        if self.failures > RETRIES:
            return "failed too often"
        return None


class Simulator:
    """All state of one simulator; there is no other.

    Without `api_keys`, every well-formed key is accepted. `send` delivers a webhook or callback.
    `hold` waits while a connection is held. Methods that change state take `lock` themselves.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        api_keys: Iterable[str] = (),
        clock: Clock = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
        send: Send = send_over_http,
        hold: Callable[[float], object] | None = None,
    ) -> None:
        self.first_settings = settings or Settings()
        self.api_keys = frozenset(api_keys)
        self.clock = clock
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.refuse: Callable[[float], None] | None = None
        """Refuses connections for so many seconds; set by the server, None in one process."""
        self._random = rng or random.SystemRandom()
        self._hold = hold or self._wait
        self._released = threading.Event()
        self._holding = threading.BoundedSemaphore(HELD_AT_ONCE)
        self.faults = Faults(self._random)
        self.journal = Journal()
        self.outbox = Outbox(self.journal, clock, send, lambda: self.settings)
        self.reset()
        for key in self.api_keys:
            self.journal.hide(key)

    def reset(self) -> None:
        """Delete all state and restore the first settings."""
        with self.lock:
            self.payments: dict[tuple[Mode, str], Payment] = {}
            self.refunds: dict[str, Refund] = {}
            self._by_token: dict[str, Payment] = {}
            self._by_reference: dict[str, Payment] = {}
            self.settings = self.first_settings
            self.faults.forget()
            self.outbox.clear()
            self.journal.clear()
            if self.settings.webhook_secret:
                self.journal.hide(self.settings.webhook_secret)

    def remember(self) -> object:
        """A copy of all state except the outbox and the journal."""
        with self.lock:
            return copy.deepcopy(
                (
                    self.payments,
                    self.refunds,
                    self._by_token,
                    self._by_reference,
                    self.settings,
                    self._random.getstate(),
                )
            )

    def return_to(self, state: Any) -> None:
        """Restore a state that `remember` returned; needs a random generator that can be set."""
        self.reset()
        with self.lock:
            (
                self.payments,
                self.refunds,
                self._by_token,
                self._by_reference,
                self.settings,
                randomness,
            ) = copy.deepcopy(state)
            self._random.setstate(randomness)

    def change_settings(self, changes: dict[str, Any]) -> None:
        with self.lock:
            self.settings = self.settings.changed(changes)
            if self.settings.webhook_secret:
                self.journal.hide(self.settings.webhook_secret)

    def hold(self, seconds: float) -> None:
        """Wait, unless `HELD_AT_ONCE` callers already wait: threads must not pile up."""
        if self._holding.acquire(blocking=False):
            try:
                self._hold(seconds)
            finally:
                self._holding.release()

    def _wait(self, seconds: float) -> None:
        released = self._released
        if not self.stopping.is_set():
            released.wait(seconds)

    def release_held(self) -> None:
        """End the wait of every connection that is held now."""
        before, self._released = self._released, threading.Event()
        before.set()

    def characters(self, count: int) -> str:
        return "".join(self._random.choices(ALPHANUMERIC, k=count))

    def open(self, payment: dict[str, Any], mode: Mode, api_key: str) -> Payment | None:
        """A new payment; None when its tx_ref has been used before."""
        with self.lock:
            others = self.find(payment["tx_ref"])
            if self.settings.switches.duplicate_tx_ref == "per_mode":
                others = self.find(payment["tx_ref"], mode)
            if others:
                return None
            now = self.clock()
            opened = Payment(
                **payment,
                mode=mode,
                api_key=api_key,
                token=self.characters(45),
                reference="AP" + self.characters(10),
                created_at=now,
                updated_at=now,
                expires_at=now + timedelta(minutes=self.settings.link_minutes),
            )
            self.payments[mode, opened.tx_ref] = opened
            self._by_token[opened.token] = opened
            self._by_reference[opened.reference] = opened
            return opened

    def find(self, tx_ref: str, mode: Mode | None = None) -> Payment | None:
        modes: tuple[Mode, ...] = (mode,) if mode else ("test", "live")
        return next((self.payments[m, tx_ref] for m in modes if (m, tx_ref) in self.payments), None)

    def by_token(self, token: str) -> Payment | None:
        return self._by_token.get(token)

    def by_reference(self, reference: str) -> Payment | None:
        return self._by_reference.get(reference)

    def begin(self, payment: Payment) -> None:
        """The customer starts an attempt that has no outcome yet."""
        with self.lock:
            self._require_open(payment)
            self._move(payment, "pending")

    def pay(
        self,
        payment: Payment,
        *,
        amount: Decimal | None = None,
        currency: str | None = None,
        late: bool = False,
        webhook: bool = True,
    ) -> None:
        """The payment succeeds. With `late` even if the link is closed: the attempt began before.

        A given amount or currency replaces the requested one in verify and the webhook.
        """
        with self.lock:
            if payment.paid:
                raise NotNowError("the payment is already paid")
            if not late:
                self._require_open(payment)
            payment.amount = amount if amount is not None else payment.amount
            payment.currency = currency or payment.currency
            self._move(payment, "success")
            if webhook:
                self._send_webhook(payment, "charge.success", "success")
                self._send_callback(payment, "success")

    def fail(self, payment: Payment, *, webhook: bool = True) -> None:
        """An attempt fails; the link stays open for the next one."""
        with self.lock:
            self._require_open(payment)
            payment.failures += 1
            self._give_up(
                payment, webhook=webhook and self.settings.switches.failed_event == "sent"
            )

    def cancel(self, payment: Payment, *, by_merchant: bool = False, webhook: bool = True) -> None:
        """Close the link for good, for the customer or through the API."""
        with self.lock:
            self._require_open(payment)
            payment.cancelled = True
            switches = self.settings.switches
            event = switches.cancel_event if by_merchant else switches.failed_event
            self._give_up(payment, webhook=webhook and event == "sent")

    def expire(self, payment: Payment) -> None:
        """The link expires now."""
        with self.lock:
            payment.expires_at = min(payment.expires_at, self.clock())

    def reverse(self, payment: Payment, *, webhook: bool = True) -> None:
        with self.lock:
            if not payment.paid:
                raise NotNowError("the payment is not paid")
            self._move(payment, "reversed")
            if webhook:
                self._send_webhook(payment, "charge.reversed", "reversed")

    def refund(
        self,
        payment: Payment,
        amount: Decimal,
        *,
        reference: str | None,
        reason: str | None,
        meta: Any,
    ) -> Refund:
        with self.lock:
            now = self.clock()
            refund = Refund(
                ref_id=self._refund_id(),
                tx_ref=payment.tx_ref,
                payment_reference=payment.reference,
                merchant_reference=reference,
                amount=amount,
                currency=payment.currency,
                reason=reason,
                meta=meta,
                created_at=now,
                updated_at=now,
            )
            self.refunds[refund.ref_id] = refund
            payment.refunds.append(refund)
            return refund

    def _refund_id(self) -> str:
        if self.settings.switches.refund_handle == "number":
            return str(self._random.randrange(10**9, 10**10))
        return "RF" + self.characters(10)

    def refund_by(self, reference: str) -> Refund | None:
        """Find by Chapa's `ref_id` or by the merchant's own reference."""
        by_merchant = (r for r in self.refunds.values() if r.merchant_reference == reference)
        return self.refunds.get(reference) or next(by_merchant, None)

    def check_refund(self, refund: Refund) -> None:
        """Count a check by the merchant; a refund moves with each check until it is final."""
        with self.lock:
            refund.checks += 1
            if refund.status in ("refunded", "reversed") or not self.settings.refund_checks:
                return
            final = refund.checks >= self.settings.refund_checks
            self.move_refund(refund, self.settings.switches.refund_ends if final else "processing")

    def move_refund(self, refund: Refund, status: RefundStatus, *, webhook: bool = True) -> None:
        with self.lock:
            if refund.status == status:
                return
            refund.status = status
            refund.updated_at = self.clock()
            payment = self._by_reference[refund.payment_reference]
            refunded = sum(r.amount for r in payment.refunds if r.status == "refunded")
            if payment.status in ("success", "refunded"):
                self._move(payment, "refunded" if refunded == payment.amount else "success")
            naming = self.settings.switches.refund_event
            if not webhook or naming == "none":
                return
            if naming == "refund" and status in ("refunded", "reversed"):
                event = "refund.success" if status == "refunded" else "refund.reversed"
                self._send_webhook(payment, event, status, refund.amount)
            elif naming == "charge" and status == "refunded":
                self._send_webhook(payment, "charge.refunded", status, refund.amount)

    def is_hidden(self, payment: Payment) -> bool:
        """Whether the fault `early` hides the payment from this verify."""
        with self.lock:
            if payment.hidden_checks > 0:
                payment.hidden_checks -= 1
                return True
            return payment.hidden_until is not None and self.clock() < payment.hidden_until

    def event_body(
        self, payment: Payment, event: str, status: str, amount: Decimal | None = None
    ) -> dict[str, Any]:
        return {
            "event": event,
            "first_name": payment.first_name,
            "last_name": payment.last_name,
            "email": payment.email,
            "mobile": payment.phone_number,
            "currency": payment.currency,
            "amount": events.two_places(payment.amount if amount is None else amount),
            "charge": events.two_places(payment.charge),
            "status": status,
            "mode": payment.mode,
            "reference": payment.reference,
            "created_at": chapa_time(payment.created_at),
            "updated_at": chapa_time(payment.updated_at),
            "type": "API",
            "tx_ref": payment.tx_ref,
            "payment_method": payment.method,
            "customization": payment.customization,
            "meta": payment.meta,
        }

    def send_event(
        self,
        body: dict[str, Any],
        *,
        tx_ref: str | None,
        api_key: str = "",
        forged: Forgery | None = None,
        delay: float = 0,
        after: Delivery | None = None,
        faults: tuple[str, ...] = (),
    ) -> Delivery:
        """Put one signed event into the outbox; every attempt sends the same bytes."""
        message = self._webhook(body, tx_ref, api_key, forged, faults)
        return self.outbox.put(message, delay=delay, after=after)

    def _webhook(
        self,
        body: dict[str, Any],
        tx_ref: str | None,
        api_key: str,
        forged: Forgery | None,
        faults: tuple[str, ...],
    ) -> Message:
        switches = self.settings.switches
        url, secret = self.settings.webhook_url, self.settings.webhook_secret
        if url is None or secret is None:
            raise NotNowError("no webhook_url is set")
        key = api_key if switches.signing_key == "api_key" and api_key else secret
        raw = events.encode(events.shaped(body, switches.webhook_shape), switches.webhook_body)
        if forged:
            signatures = events.forged_headers(raw, key, api_key, self.characters(45), forged)
        else:
            signatures = events.signature_headers(raw, key, switches.webhook_signature)
        headers = {"Content-Type": "application/json", "User-Agent": "Chapa", **signatures}
        return Message("webhook", tx_ref, "POST", url, headers, raw, faults)

    def _require_open(self, payment: Payment) -> None:
        if why := payment.closed(self.clock()):
            raise NotNowError(f"the link is closed: {why}")

    def _move(self, payment: Payment, status: Status) -> None:
        if payment.status != status:
            payment.status = status
            payment.updated_at = self.clock()

    def _give_up(self, payment: Payment, *, webhook: bool) -> None:
        self._move(payment, "failed")
        # A second failure changes no status, but it is another event.
        payment.updated_at = self.clock()
        if webhook:
            self._send_webhook(payment, f"charge.{FAILED}", FAILED)
            if self.settings.switches.callback_on_failure == "yes":
                self._send_callback(payment, "failed")

    def _send_webhook(
        self, payment: Payment, event: str, status: str, amount: Decimal | None = None
    ) -> None:
        if self.settings.webhook_url is None:
            return
        tx_ref, key = payment.tx_ref, payment.api_key
        kinds = WEBHOOK + SUCCESS_ONLY if event == "charge.success" else WEBHOOK
        fault = self.faults.take("webhook", tx_ref, kinds)
        body = self.event_body(payment, event, status, amount)
        forged = fault.signature if fault and fault.kind == "forged" else None
        faults = (fault.kind,) if fault else ()
        message = self._webhook(body, tx_ref, key, forged, faults)
        if fault and fault.kind in ("failed_first", "out_of_order"):
            failed = {**body, "event": f"charge.{FAILED}", "status": FAILED}
            failed["updated_at"] = chapa_time(payment.created_at)
            stale = self._webhook(failed, tx_ref, key, None, faults)
            in_order = fault.kind == "failed_first"
            first = self.outbox.put(stale if in_order else message)
            # The default of `seconds` is for faults that delay; this one delays only if asked.
            delay = fault.seconds if "seconds" in fault.model_fields_set else 0
            self.outbox.put(message if in_order else stale, delay=delay, after=first)
            return
        if fault and fault.kind == "early":
            given = fault.model_fields_set
            if "seconds" in given:
                payment.hidden_until = self.clock() + timedelta(seconds=fault.seconds)
            if "n" in given or "seconds" not in given:
                payment.hidden_checks = fault.n
        self._deliver(message, fault)

    def _send_callback(self, payment: Payment, status: str) -> None:
        style = self.settings.switches.callback
        if payment.callback_url is None or style == "none":
            return
        name = "tx_ref" if style == "tx_ref_name" else "trx_ref"
        values = {name: payment.tx_ref, "ref_id": payment.reference, "status": status}
        url, headers, body = payment.callback_url, {"User-Agent": "Chapa"}, b""
        if style == "json":
            headers["Content-Type"] = "application/json"
            body = events.encode(values, "php")
        else:
            url = with_query(url, values)
        fault = self.faults.take("callback", payment.tx_ref, CALLBACK)
        faults = (fault.kind,) if fault else ()
        self._deliver(Message("callback", payment.tx_ref, "GET", url, headers, body, faults), fault)

    def _deliver(self, message: Message, fault: Fault | None) -> None:
        """Put a message into the outbox, or do with it what the fault says."""
        if fault and fault.kind == "lost":
            # Never sent, but in the journal, so that a test sees that it would have been.
            self.journal.add(
                message.call,
                message.tx_ref,
                self.clock(),
                method=message.method,
                url=message.url,
                body=message.body,
                faults=message.faults,
            )
            return
        delay = fault.seconds if fault and fault.kind == "delayed" else 0
        for _ in range(fault.n if fault and fault.kind == "doubled" else 1):
            self.outbox.put(message, delay=delay)


def chapa_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def with_query(url: str, values: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(text for text in (parts.query, urlencode(values)) if text)
    return urlunsplit(parts._replace(query=query))
