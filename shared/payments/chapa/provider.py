"""What the use cases need of a payment provider."""

from dataclasses import dataclass
from typing import Protocol

from payments.domain.answers import Page, Said, Verification
from payments.domain.records import Order, Payment, Refund


@dataclass(frozen=True)
class Opened:
    """A checkout that the provider opened."""

    checkout_url: str
    page_expires_at: int | None = None
    """When its page ends, if the provider says so; seconds since the epoch."""
    provider_reference: str | None = None


class Provider(Protocol):
    """One version of a provider's API.

    Calls that act (`open`, `refund`) raise a ProviderError which says whether the provider may
    have acted all the same. Questions never raise for what the provider does: what could not be
    asked or understood is `Said.UNKNOWN`. Only `transactions` raises a ProviderError then: a list
    without a page is no list. No call waits longer than `time_left` seconds.
    """

    @property
    def name(self) -> str:
        """What is stored with each payment that it opened."""

    @property
    def can_cancel(self) -> bool:
        """Whether it can close a payment. If not, a payment stays open until its page ends."""

    @property
    def mode(self) -> str:
        """`test` or `live`. Raises ConfigurationError or Unavailable."""

    def open(self, order: Order, payment: Payment, time_left: float) -> Opened: ...

    def verify(self, payment: Payment, time_left: float) -> Verification: ...

    def cancel(self, payment: Payment, time_left: float) -> bool:
        """Whether the payment is certainly not open any more. It may have been paid: verify it.

        Not called if not `can_cancel`.
        """

    def refund(self, payment: Payment, refund: Refund, time_left: float) -> str | None:
        """The provider's id of the refund; None when it has the refund and named no id."""

    def verify_refund(self, refund: Refund, time_left: float) -> Said: ...

    def transactions(self, since: int, until: int, position: str | None, time_left: float) -> Page:
        """A page of all payments and refunds of the account, also of the account's other business.

        `position` is None for the first page, then what the last page called `following`. Rows
        that were created outside of the range may be among them. Raises a ProviderError.
        """
