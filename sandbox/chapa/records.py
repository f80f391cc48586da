"""A payment and a refund as Chapa keeps them, in no version's wire form.

A payment is `unpaid` until the first attempt to pay. All times are UTC. All amounts are in units of
the currency, such as birr; `wire_v2` converts to and from v2's minor units.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

type Version = Literal["v1", "v2"]
type Mode = Literal["test", "live"]
type Account = tuple[Version, Mode]
"""What one key sees: payments and refunds of one version and one mode."""

type Status = Literal["unpaid", "pending", "success", "failed", "refunded", "reversed"]
type RefundStatus = Literal["initiated", "processing", "refunded", "reversed"]

CHARGE_RATE = Decimal("0.035")
RETRIES = 10
CENT = Decimal("0.01")


@dataclass
class Refund:
    ref_id: str
    account: Account
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
    """`tx_ref` is the merchant's reference, `reference` is Chapa's, in both versions."""

    tx_ref: str
    account: Account
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
    timed_out: bool = False
    payable_late: bool = False
    failures: int = 0
    retries: int = RETRIES
    hidden_checks: int = 0
    hidden_until: datetime | None = None
    refunds: list[Refund] = field(default_factory=list)

    @property
    def version(self) -> Version:
        return self.account[0]

    @property
    def mode(self) -> Mode:
        return self.account[1]

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
        if now >= self.expires_at and not self.payable_late:
            return "expired"
        if self.failures > self.retries:
            return "failed too often"
        return None
