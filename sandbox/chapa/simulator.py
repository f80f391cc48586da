"""What Chapa remembers, and what may happen to it.

A payment is `unpaid` until somebody tries to pay. All times are UTC.
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
    """What is asked for cannot happen to this payment any more, or not yet."""


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
    looks: int = 0


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
    hidden_looks: int = 0
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
        """Why nobody can pay on the link any more."""
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
    """All state of one simulator; nothing is kept outside it.

    `api_keys` empty: every well-formed key is accepted. `send` takes a webhook or callback away.
    `hold` keeps a connection waiting. Methods that change something hold `lock` themselves.
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
        """Stops listening for so many seconds; set by the server, absent in one process."""
        self._random = rng or random.SystemRandom()
        self._hold = hold or self._wait
        self._let_go = threading.Event()
        self._holding = threading.BoundedSemaphore(HELD_AT_ONCE)
        self.faults = Faults(self._random)
        self.journal = Journal()
        self.outbox = Outbox(self.journal, clock, send, lambda: self.settings)
        self.reset()
        for key in self.api_keys:
            self.journal.hide(key)

    def reset(self) -> None:
        """Forget everything, settings included."""
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
        """All that happened so far, except what is on its way or in the journal."""
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
        """As it was when it was told to `remember`, with a randomness that can be set."""
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
        """Keep a caller waiting; not at all once too many wait, so that threads cannot pile up."""
        if self._holding.acquire(blocking=False):
            try:
                self._hold(seconds)
            finally:
                self._holding.release()

    def _wait(self, seconds: float) -> None:
        let_go = self._let_go
        if not self.stopping.is_set():
            let_go.wait(seconds)

    def let_go(self) -> None:
        """Nobody who is held now waits any longer."""
        before, self._let_go = self._let_go, threading.Event()
        before.set()

    def characters(self, count: int) -> str:
        return "".join(self._random.choices(ALPHANUMERIC, k=count))

    def open(self, payment: dict[str, Any], mode: Mode, api_key: str) -> Payment | None:
        """A new payment with its checkout link, or None when its tx_ref has been used before."""
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
        """The customer has started an attempt, and it is not over."""
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
        """Money arrives; `late` even though the link is closed, as when an attempt was under way.

        Another amount or currency than was asked for is what verify and the webhook then report.
        """
        with self.lock:
            if payment.paid:
                raise NotNowError("it is paid already")
            if not late:
                self._require_open(payment)
            payment.amount = amount if amount is not None else payment.amount
            payment.currency = currency or payment.currency
            self._move(payment, "success")
            if webhook:
                self._announce(payment, "charge.success", "success")
                self._call_back(payment, "success")

    def fail(self, payment: Payment, *, webhook: bool = True) -> None:
        """An attempt fails; the link stays open for another."""
        with self.lock:
            self._require_open(payment)
            payment.failures += 1
            self._give_up(
                payment, webhook=webhook and self.settings.switches.failed_event == "sent"
            )

    def cancel(self, payment: Payment, *, by_merchant: bool = False, webhook: bool = True) -> None:
        """The link is closed for good, by the customer or through the API."""
        with self.lock:
            self._require_open(payment)
            payment.cancelled = True
            switches = self.settings.switches
            event = switches.cancel_event if by_merchant else switches.failed_event
            self._give_up(payment, webhook=webhook and event == "sent")

    def expire(self, payment: Payment) -> None:
        """Its hour is over now."""
        with self.lock:
            payment.expires_at = min(payment.expires_at, self.clock())

    def reverse(self, payment: Payment, *, webhook: bool = True) -> None:
        with self.lock:
            if not payment.paid:
                raise NotNowError("it is not paid")
            self._move(payment, "reversed")
            if webhook:
                self._announce(payment, "charge.reversed", "reversed")

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
                ref_id="RF" + self.characters(10),
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

    def refund_by(self, reference: str) -> Refund | None:
        """By Chapa's handle, or by the merchant's own reference."""
        by_merchant = (r for r in self.refunds.values() if r.merchant_reference == reference)
        return self.refunds.get(reference) or next(by_merchant, None)

    def look_at(self, refund: Refund) -> None:
        """Each look moves a refund on, until it is final."""
        with self.lock:
            refund.looks += 1
            if refund.status in ("refunded", "reversed") or not self.settings.refund_looks:
                return
            final = refund.looks >= self.settings.refund_looks
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
                self._announce(payment, event, status, refund.amount)
            elif naming == "charge" and status == "refunded":
                self._announce(payment, "charge.refunded", status, refund.amount)

    def look_is_hidden(self, payment: Payment) -> bool:
        """Whether this verify does not know yet what a webhook has already told."""
        with self.lock:
            if payment.hidden_looks > 0:
                payment.hidden_looks -= 1
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
        switches = self.settings.switches
        url, secret = self.settings.webhook_url, self.settings.webhook_secret
        if url is None or secret is None:
            raise NotNowError("no webhook_url is set")
        key = api_key if switches.signing_key == "api_key" and api_key else secret
        raw = events.encode(body, switches.webhook_body)
        if forged:
            signatures = events.forged_headers(raw, key, api_key, self.characters(45), forged)
        else:
            signatures = events.signature_headers(raw, key, switches.webhook_signature)
        headers = {"Content-Type": "application/json", "User-Agent": "Chapa", **signatures}
        message = Message("webhook", tx_ref, "POST", url, headers, raw, faults)
        return self.outbox.put(message, delay=delay, after=after)

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
            self._announce(payment, f"charge.{FAILED}", FAILED)
            if self.settings.switches.callback_on_failure == "yes":
                self._call_back(payment, "failed")

    def _webhook_fault(self, tx_ref: str, *, success: bool) -> Fault | None:
        kinds = WEBHOOK + SUCCESS_ONLY if success else WEBHOOK
        standing = self.settings.switches.webhook_delivery
        fault = self.faults.take("webhook", tx_ref, kinds)
        if fault is None and standing != "once" and standing in kinds:
            return Fault(call="webhook", kind=standing)
        return fault

    def _announce(
        self, payment: Payment, event: str, status: str, amount: Decimal | None = None
    ) -> None:
        if self.settings.webhook_url is None:
            return
        tx_ref, key = payment.tx_ref, payment.api_key
        fault = self._webhook_fault(tx_ref, success=event == "charge.success")
        body = self.event_body(payment, event, status, amount)
        if fault is None:
            self.send_event(body, tx_ref=tx_ref, api_key=key)
            return
        faults = (fault.kind,)
        failed = {**body, "event": f"charge.{FAILED}", "status": FAILED}
        failed["updated_at"] = chapa_time(payment.created_at)
        given = fault.model_fields_set
        match fault.kind:
            case "lost":
                self._lose(Message("webhook", tx_ref, "POST", self.settings.webhook_url, {}, b""))
            case "doubled":
                for _ in range(fault.n):
                    self.send_event(body, tx_ref=tx_ref, api_key=key, faults=faults)
            case "delayed":
                self.send_event(
                    body, tx_ref=tx_ref, api_key=key, delay=fault.seconds, faults=faults
                )
            case "forged":
                self.send_event(
                    body, tx_ref=tx_ref, api_key=key, forged=fault.signature, faults=faults
                )
            case "early":
                if "seconds" in given:
                    payment.hidden_until = self.clock() + timedelta(seconds=fault.seconds)
                if "n" in given or "seconds" not in given:
                    payment.hidden_looks = fault.n
                self.send_event(body, tx_ref=tx_ref, api_key=key, faults=faults)
            case "failed_first":
                first = self.send_event(failed, tx_ref=tx_ref, api_key=key, faults=faults)
                self.send_event(body, tx_ref=tx_ref, api_key=key, after=first, faults=faults)
            case "out_of_order":
                first = self.send_event(body, tx_ref=tx_ref, api_key=key, faults=faults)
                self.send_event(
                    failed,
                    tx_ref=tx_ref,
                    api_key=key,
                    after=first,
                    delay=fault.seconds if "seconds" in given else 0,
                    faults=faults,
                )

    def _call_back(self, payment: Payment, status: str) -> None:
        style = self.settings.switches.callback
        if payment.callback_url is None or style == "none":
            return
        name = "tx_ref" if style == "tx_ref_name" else "trx_ref"
        told = {name: payment.tx_ref, "ref_id": payment.reference, "status": status}
        url, headers, body = payment.callback_url, {"User-Agent": "Chapa"}, b""
        if style == "json":
            headers["Content-Type"] = "application/json"
            body = events.encode(told, "php")
        else:
            url = with_query(url, told)
        fault = self.faults.take("callback", payment.tx_ref, CALLBACK)
        faults = (fault.kind,) if fault else ()
        message = Message("callback", payment.tx_ref, "GET", url, headers, body, faults)
        match fault.kind if fault else None:
            case "lost":
                self._lose(message)
            case "doubled" if fault:
                for _ in range(fault.n):
                    self.outbox.put(message)
            case "delayed" if fault:
                self.outbox.put(message, delay=fault.seconds)
            case _:
                self.outbox.put(message)

    def _lose(self, message: Message) -> None:
        """Never sent, but written down, so that a test can see that it would have been."""
        self.journal.add(
            message.call,
            message.tx_ref,
            self.clock(),
            method=message.method,
            url=message.url,
            body=message.body,
            faults=["lost"],
        )


def chapa_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def with_query(url: str, values: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(text for text in (parts.query, urlencode(values)) if text)
    return urlunsplit(parts._replace(query=query))
