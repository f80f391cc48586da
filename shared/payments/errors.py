"""Every way a request can fail, and what the client is told.

    PaymentsError
    ├── InvalidRequest                the body, a path or a header is not what the contract says
    ├── BadSignature                  a webhook that nobody with the secret has signed
    ├── OrderNotFound, PaymentNotFound (also somebody else's)
    ├── UnknownSku, MixedCurrency, IdempotencyMismatch
    ├── OutOfStock
    ├── OrderEmpty, OrderNotPayable, PaymentInProgress
    ├── OrderPaid, OrderInReview      it cannot be cancelled
    ├── RefundTooLarge                more than what is left of a payment
    ├── ProviderError
    │   ├── ProviderRejected          it refused our input
    │   ├── ProviderFailed            it refused our key, or answered nonsense or 5xx
    │   ├── ProviderTimeout           it did not answer in time
    │   └── ProviderUnavailable       it could not be reached
    ├── NotDeferred                   a webhook could neither be settled nor queued
    ├── Busy                          too many wrote the same order at once
    └── Internal                      a bug, or our own configuration

`TABLE` is the one place where they meet HTTP. Errors are raised with a `detail` for the reader,
optional `retry_after` seconds, and optional further members of the problem document.
"""

from typing import Any, NamedTuple


class PaymentsError(Exception):
    def __init__(self, detail: str, *, retry_after: int | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.members = members


class InvalidRequest(PaymentsError):
    pass


class BadSignature(PaymentsError):
    pass


class OrderNotFound(PaymentsError):
    pass


class PaymentNotFound(PaymentsError):
    pass


class UnknownSku(PaymentsError):
    pass


class MixedCurrency(PaymentsError):
    pass


class IdempotencyMismatch(PaymentsError):
    pass


class OutOfStock(PaymentsError):
    pass


class OrderEmpty(PaymentsError):
    pass


class OrderNotPayable(PaymentsError):
    pass


class PaymentInProgress(PaymentsError):
    pass


class OrderPaid(PaymentsError):
    pass


class OrderInReview(PaymentsError):
    pass


class RefundTooLarge(PaymentsError):
    pass


class ProviderError(PaymentsError):
    """`reason` is for logs and the ledger; `may_have_acted` is False only when the provider
    certainly did nothing."""

    may_have_acted = True

    def __init__(self, reason: str, *, may_have_acted: bool | None = None, **more: Any) -> None:
        super().__init__(reason, **more)
        self.reason = reason
        if may_have_acted is not None:
            self.may_have_acted = may_have_acted


class ProviderRejected(ProviderError):
    may_have_acted = False


class ProviderFailed(ProviderError):
    pass


class ProviderTimeout(ProviderError):
    pass


class ProviderUnavailable(ProviderError):
    pass


class NotDeferred(PaymentsError):
    pass


class Busy(PaymentsError):
    pass


class Internal(PaymentsError):
    pass


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names it. Nothing works until it is mended."""


class Answer(NamedTuple):
    status: int
    code: str
    title: str


TABLE: dict[type[PaymentsError], Answer] = {
    InvalidRequest: Answer(400, "invalid_request", "The request is not valid"),
    ProviderRejected: Answer(400, "provider_rejected", "The payment provider refused the payment"),
    BadSignature: Answer(401, "bad_signature", "The webhook is not signed by the provider"),
    OrderNotFound: Answer(404, "order_not_found", "There is no such order"),
    PaymentNotFound: Answer(404, "payment_not_found", "There is no such payment"),
    OutOfStock: Answer(409, "out_of_stock", "Not enough in stock"),
    OrderNotPayable: Answer(409, "order_not_payable", "The order cannot be paid"),
    PaymentInProgress: Answer(409, "payment_in_progress", "A payment is being opened already"),
    OrderPaid: Answer(409, "order_paid", "The order is paid"),
    OrderInReview: Answer(409, "order_in_review", "The order is being checked by a person"),
    RefundTooLarge: Answer(409, "refund_too_large", "Not so much of the payment is left"),
    UnknownSku: Answer(422, "unknown_sku", "The catalogue has no such product"),
    MixedCurrency: Answer(422, "mixed_currency", "The products have different currencies"),
    IdempotencyMismatch: Answer(422, "idempotency_mismatch", "The key was used for another order"),
    OrderEmpty: Answer(422, "order_empty", "The order has no items"),
    Internal: Answer(500, "internal_error", "Something went wrong on our side"),
    ProviderFailed: Answer(502, "provider_error", "The payment provider failed"),
    ProviderUnavailable: Answer(503, "provider_unavailable", "The payment provider is unreachable"),
    NotDeferred: Answer(503, "not_deferred", "The webhook could not be taken in; send it again"),
    Busy: Answer(503, "busy", "Too many requests for the same order at once"),
    ProviderTimeout: Answer(504, "provider_timeout", "The payment provider did not answer in time"),
}
