"""Chapa's state, and everything that can happen to a payment or a refund, without wire forms."""

import copy
import random
import string
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from sandbox.chapa import events, wire_v1, wire_v2
from sandbox.chapa.events import Request, What
from sandbox.chapa.faults import CALLBACK, SUCCESS_ONLY, WEBHOOK, Call, Fault, Faults, Forgery
from sandbox.chapa.journal import Journal
from sandbox.chapa.outbox import Clock, Message, Outbox, Send, send_over_http
from sandbox.chapa.records import Account, Mode, Payment, Refund, RefundStatus, Status, Version
from sandbox.chapa.settings import Settings

ALPHANUMERIC = string.ascii_letters + string.digits
HELD_AT_ONCE = 64


class NotNowError(Exception):
    """The state of the payment does not allow this."""


class Wire(Protocol):
    """How a version writes webhooks and callbacks: `wire_v1`, `wire_v2`."""

    FAILED: tuple[str, str]

    def names(self, what: What, settings: Settings, /) -> tuple[str, str] | None: ...
    def body(
        self,
        payment: Payment,
        event: str,
        status: str,
        settings: Settings,
        refund: Refund | None = None,
        /,
    ) -> dict[str, Any]: ...
    def payout(self, event: str, status: str, mode: Mode, now: datetime, /) -> dict[str, Any]: ...
    def encoded(self, event: dict[str, Any], settings: Settings, /) -> bytes: ...
    def signatures(self, raw: bytes, key: str, settings: Settings, /) -> dict[str, str]: ...
    def callback(
        self, payment: Payment, url: str, status: str, settings: Settings, /
    ) -> Request | None: ...
    def return_url(self, payment: Payment, url: str, settings: Settings, /) -> str: ...


WIRES: dict[Version, Wire] = {"v1": wire_v1, "v2": wire_v2}

STATE = (
    "payments",
    "refunds",
    "answers",
    "_by_token",
    "_by_reference",
    "_timelines",
    "_running",
    "_next_end",
    "settings",
)
"""All state of a simulator except the faults, the outbox and the journal."""


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
        self.outbox = Outbox(self.journal, clock, send, lambda: self.settings, self.end_links)
        self.reset()
        for key in self.api_keys:
            self.journal.hide(key)

    def reset(self) -> None:
        """Delete all state and restore the first settings."""
        with self.lock:
            self.payments: dict[tuple[Account, str], Payment] = {}
            self.refunds: dict[str, Refund] = {}
            self.answers: dict[tuple[Account, Call, str], tuple[bytes, dict[str, Any]]] = {}
            """Requests and answers by `Idempotency-Key`."""
            self._by_token: dict[str, Payment] = {}
            self._by_reference: dict[str, Payment] = {}
            self._timelines: dict[str, list[tuple[datetime, str]]] = {}
            self._running: dict[str, Payment] = {}
            """Payments of v2 whose link has not ended, by token."""
            self._next_end: datetime | None = None
            self.settings = self.first_settings
            self.faults.forget()
            self.outbox.clear()
            self.journal.clear()
            for secret in self.settings.secrets:
                self.journal.hide(secret)

    def remember(self) -> object:
        """A copy of all state except the outbox and the journal."""
        with self.lock:
            state = {name: getattr(self, name) for name in STATE}
            return copy.deepcopy(state), self._random.getstate()

    def return_to(self, state: Any) -> None:
        """Restore a state that `remember` returned; needs a random generator that can be set."""
        self.reset()
        with self.lock:
            values, randomness = state
            for name, value in copy.deepcopy(values).items():
                setattr(self, name, value)
            self._random.setstate(randomness)

    def change_settings(self, changes: dict[str, Any]) -> None:
        with self.lock:
            self.settings = self.settings.changed(changes)
            for secret in self.settings.secrets:
                self.journal.hide(secret)

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

    def open(self, account: Account, payment: dict[str, Any], api_key: str) -> Payment | None:
        """A new payment; None when its tx_ref has been used before."""
        version, mode = account
        with self.lock:
            tx_ref = payment.get("tx_ref")
            across_modes = version == "v1" and self.settings.switches.duplicate_tx_ref != "per_mode"
            if tx_ref and self.find(tx_ref, None if across_modes else mode, version):
                return None
            reference, token = self._references(account)
            now = self.clock()
            opened = Payment(
                **{**payment, "tx_ref": tx_ref or reference},
                account=account,
                api_key=api_key,
                token=token,
                reference=reference,
                created_at=now,
                updated_at=now,
                expires_at=now + timedelta(minutes=self.settings.link_minutes),
            )
            self.payments[account, opened.tx_ref] = opened
            self._by_token[opened.token] = opened
            self._by_reference[opened.reference] = opened
            self._timelines[opened.reference] = [(now, opened.status)]
            if version == "v2":
                self._running[opened.token] = opened
                self._next_end = min(self._next_end or opened.expires_at, opened.expires_at)
            return opened

    def _references(self, account: Account) -> tuple[str, str]:
        """Chapa's reference, and the token in the page's address; in v2 they are the same."""
        version, mode = account
        if version == "v1":
            token = self.characters(45)
            return "AP" + self.characters(10), token
        prefix = "TEST" if mode == "test" else ""
        first, last = self._random.choices(string.ascii_letters, k=2)
        digits = self._random.randrange(10**8)
        reference = f"{prefix}{first.upper()}{digits:08}{last.lower()}"
        return reference, reference

    def find(
        self, tx_ref: str, mode: Mode | None = None, version: Version | None = None
    ) -> Payment | None:
        """The payment with this reference of the merchant; of v1, when both versions have one."""
        versions: tuple[Version, ...] = (version,) if version else ("v1", "v2")
        modes: tuple[Mode, ...] = (mode,) if mode else ("test", "live")
        keys = (((v, m), tx_ref) for v in versions for m in modes)
        return next((self.payments[key] for key in keys if key in self.payments), None)

    def of(self, account: Account) -> list[Payment]:
        """The payments that a key sees, oldest first."""
        with self.lock:
            return [payment for payment in self.payments.values() if payment.account == account]

    def timeline(self, payment: Payment) -> list[tuple[datetime, str]]:
        """When the payment got each status."""
        return self._timelines[payment.reference]

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
                self._send_webhook(payment, "success")
                self._send_callback(payment, "success")

    def fail(self, payment: Payment, *, webhook: bool = True) -> None:
        """An attempt fails; the link stays open for the next one, unless v2 is switched."""
        with self.lock:
            self._require_open(payment)
            payment.failures += 1
            if payment.version == "v2" and self.settings.switches_v2.after_failure == "closed":
                payment.retries = 0
            self._give_up(payment, "failed", webhook=webhook)

    def cancel(self, payment: Payment, *, by_merchant: bool = False, webhook: bool = True) -> None:
        """Close the link for good, for the customer or, in v1, through the API."""
        with self.lock:
            self._require_open(payment)
            payment.cancelled = True
            self._give_up(payment, "closed" if by_merchant else "cancelled", webhook=webhook)

    def expire(self, payment: Payment) -> None:
        """The link expires now."""
        with self.lock:
            payment.expires_at = min(payment.expires_at, self.clock())
            self._next_end = payment.expires_at
            self.end_links()

    def closed(self, payment: Payment) -> str | None:
        """Why the link can no longer be paid; None while it can."""
        self.end_links()
        return payment.closed(self.clock())

    def end_links(self) -> None:
        """End the links of v2 whose time is over. Chapa reports that end in v2 only."""
        with self.lock:
            now = self.clock()
            if self._next_end is None or now < self._next_end:
                return
            for payment in [p for p in self._running.values() if now >= p.expires_at]:
                del self._running[payment.token]
                end = self.settings.switches_v2.link_end
                if end == "payable":
                    payment.payable_late = True
                elif end != "pending" and payment.status in ("unpaid", "pending"):
                    payment.timed_out = True
                    payment.cancelled = end == "cancelled"
                    self._give_up(payment, end, webhook=True)
            self._next_end = min((p.expires_at for p in self._running.values()), default=None)

    def reverse(self, payment: Payment, *, webhook: bool = True) -> None:
        with self.lock:
            if not payment.paid:
                raise NotNowError("the payment is not paid")
            self._move(payment, "reversed")
            if webhook:
                self._send_webhook(payment, "reversed")

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
                ref_id=self._refund_id(payment.version),
                account=payment.account,
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

    def _refund_id(self, version: Version) -> str:
        if version == "v2":
            return "RFND" + self.characters(10)
        if self.settings.switches.refund_handle == "number":
            return str(self._random.randrange(10**9, 10**10))
        return "RF" + self.characters(10)

    def refund_by(self, reference: str, version: Version | None = None) -> Refund | None:
        """Find by Chapa's `ref_id` or by the merchant's own reference."""
        for refund in self.refunds.values():
            names = (refund.ref_id, refund.merchant_reference)
            if reference in names and version in (None, refund.account[0]):
                return refund
        return None

    def check_refund(self, refund: Refund) -> None:
        """Count a check by the merchant; a refund moves with each check until it is final."""
        with self.lock:
            refund.checks += 1
            if refund.status in ("refunded", "reversed") or not self.settings.refund_checks:
                return
            final = refund.checks >= self.settings.refund_checks
            self.move_refund(refund, self._refund_end(refund) if final else "processing")

    def _refund_end(self, refund: Refund) -> RefundStatus:
        if refund.account[0] == "v1":
            return self.settings.switches.refund_ends
        return "reversed" if self.settings.switches_v2.refund_result == "failed" else "refunded"

    def move_refund(self, refund: Refund, status: RefundStatus, *, webhook: bool = True) -> None:
        with self.lock:
            if refund.status == status:
                return
            refund.status = status
            refund.updated_at = self.clock()
            payment = self._by_reference[refund.payment_reference]
            refunded = sum(r.amount for r in payment.refunds if r.status == "refunded")
            full = refunded == payment.amount
            if payment.status in ("success", "refunded"):
                self._move(payment, "refunded" if full else "success")
            if webhook and status == "refunded":
                self._send_webhook(payment, "refunded" if full else "partly_refunded", refund)
            if webhook and status == "reversed":
                self._send_webhook(payment, "refund_failed", refund)

    def is_hidden(self, payment: Payment) -> bool:
        """Whether the fault `early` hides the payment from this verify."""
        with self.lock:
            if payment.hidden_checks > 0:
                payment.hidden_checks -= 1
                return True
            return payment.hidden_until is not None and self.clock() < payment.hidden_until

    def event_body(
        self, version: Version, payment: Payment, event: str, status: str
    ) -> dict[str, Any]:
        return WIRES[version].body(payment, event, status, self.settings)

    def payout_body(self, event: str, status: str, version: Version) -> dict[str, Any]:
        return WIRES[version].payout(event, status, "test", self.clock())

    def send_event(
        self,
        version: Version,
        body: dict[str, Any],
        *,
        tx_ref: str | None,
        api_key: str = "",
        forged: Forgery | None = None,
        delay: float = 0,
    ) -> None:
        """Put one signed event into the outbox; every attempt sends the same bytes."""
        faults = ("forged",) if forged else ()
        message = self._webhook(version, body, tx_ref, api_key, forged, faults)
        self.outbox.put(message, delay=delay)

    def _webhook(
        self,
        version: Version,
        body: dict[str, Any],
        tx_ref: str | None,
        api_key: str,
        forged: Forgery | None,
        faults: tuple[str, ...],
    ) -> Message:
        url, key = self.settings.webhook_url, self._signing_key(version, api_key)
        if url is None or key is None:
            raise NotNowError("no webhook_url is set")
        wire = WIRES[version]
        raw = wire.encoded(body, self.settings)
        if forged:
            signatures = events.forged_headers(raw, key, api_key, self.characters(45), forged)
        else:
            signatures = wire.signatures(raw, key, self.settings)
        headers = {**events.JSON, "User-Agent": "Chapa", **signatures}
        return Message("webhook", tx_ref, "POST", url, headers, raw, faults, version)

    def _signing_key(self, version: Version, api_key: str) -> str | None:
        settings = self.settings
        switches = settings.switches if version == "v1" else settings.switches_v2
        if switches.signing_key == "api_key" and api_key:
            return api_key
        own = settings.webhook_secret_v2 if version == "v2" else None
        return own or settings.webhook_secret

    def _require_open(self, payment: Payment) -> None:
        if why := self.closed(payment):
            raise NotNowError(f"the link is closed: {why}")

    def _move(self, payment: Payment, status: Status) -> None:
        if payment.status != status:
            payment.status = status
            payment.updated_at = self.clock()
            self._timelines[payment.reference].append((payment.updated_at, status))

    def _give_up(self, payment: Payment, what: What, *, webhook: bool) -> None:
        self._move(payment, "failed")
        # A second failure changes no status, but it is another event.
        payment.updated_at = self.clock()
        if webhook:
            self._send_webhook(payment, what)
            self._send_callback(payment, "failed")

    def _send_webhook(self, payment: Payment, what: What, refund: Refund | None = None) -> None:
        wire = WIRES[payment.version]
        names = wire.names(what, self.settings)
        if self.settings.webhook_url is None or names is None:
            return
        tx_ref = payment.tx_ref
        fault = self.faults.take(
            "webhook", tx_ref, WEBHOOK + SUCCESS_ONLY if what == "success" else WEBHOOK
        )
        body = wire.body(payment, *names, self.settings, refund)
        forged = fault.signature if fault and fault.kind == "forged" else None
        faults = (fault.kind,) if fault else ()
        version, key = payment.version, payment.api_key
        message = self._webhook(version, body, tx_ref, key, forged, faults)
        if fault and fault.kind in ("failed_first", "out_of_order"):
            failed = wire.body(payment, *wire.FAILED, self.settings)
            failed["updated_at"] = failed["created_at"]
            stale = self._webhook(version, failed, tx_ref, key, None, faults)
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
        if payment.callback_url is None:
            return
        wire = WIRES[payment.version]
        sent = wire.callback(payment, payment.callback_url, status, self.settings)
        if sent is None:
            return
        fault = self.faults.take("callback", payment.tx_ref, CALLBACK)
        headers = {"User-Agent": "Chapa", **sent.headers}
        faults = (fault.kind,) if fault else ()
        message = Message(
            "callback",
            payment.tx_ref,
            sent.method,
            sent.url,
            headers,
            sent.body,
            faults,
            payment.version,
        )
        self._deliver(message, fault)

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
                version=message.version,
            )
            return
        delay = fault.seconds if fault and fault.kind == "delayed" else 0
        for _ in range(fault.n if fault and fault.kind == "doubled" else 1):
            self.outbox.put(message, delay=delay)
