"""Every way a request can fail, and what the client receives.

    PaymentsError
    ├── InvalidRequest                the body, a path or a header is not what the contract says
    ├── BadSignature                  a webhook that nobody with the secret signed
    ├── NoSubject                     a token that does not say whose it is
    ├── OrderNotFound, PaymentNotFound, RefundNotFound   (also somebody else's)
    ├── UnknownSku, MixedCurrency, IdempotencyMismatch
    ├── OutOfStock, TooManyUnpaidOrders
    ├── OrderEmpty, OrderNotPayable, PaymentInProgress
    ├── OrderPaid, OrderInReview      it cannot be cancelled
    ├── RefundTooLarge, RefundKeyUsed, NotResolvable     refusals of the operators' tool
    ├── ProviderError
    │   ├── ProviderRejected          it refused our input
    │   ├── ProviderFailed            it refused our key, or answered nonsense or 5xx
    │   ├── ProviderTimeout           it did not answer in time
    │   └── ProviderUnavailable       it could not be reached
    ├── NotDeferred                   a webhook could neither be settled nor stored
    ├── Busy                          too many processes wrote the same item at once
    ├── Unavailable                   a part of AWS did not answer
    ├── CatalogueError                a product is not stored as it should be
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


class NoSubject(PaymentsError):
    pass


class OrderNotFound(PaymentsError):
    pass


class PaymentNotFound(PaymentsError):
    pass


class RefundNotFound(PaymentsError):
    pass


class UnknownSku(PaymentsError):
    pass


class MixedCurrency(PaymentsError):
    pass


class IdempotencyMismatch(PaymentsError):
    pass


class OutOfStock(PaymentsError):
    pass


class TooManyUnpaidOrders(PaymentsError):
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


class RefundKeyUsed(PaymentsError):
    pass


class NotResolvable(PaymentsError):
    pass


class ProviderError(PaymentsError):
    """`reason` is for logs and the event log; `may_have_acted` is False only when the provider
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


class Unavailable(PaymentsError):
    pass


class CatalogueError(PaymentsError):
    pass


class Internal(PaymentsError):
    pass


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names it. Nothing works until it is corrected."""


class HttpError(NamedTuple):
    status: int
    code: str
    title: str


TABLE: dict[type[PaymentsError], HttpError] = {
    InvalidRequest: HttpError(400, "invalid_request", "The request is not valid"),
    ProviderRejected: HttpError(
        400, "provider_rejected", "The payment provider refused the payment"
    ),
    BadSignature: HttpError(401, "bad_signature", "The webhook is not signed by the provider"),
    NoSubject: HttpError(403, "no_subject", "The token does not say whose it is"),
    OrderNotFound: HttpError(404, "order_not_found", "There is no such order"),
    PaymentNotFound: HttpError(404, "payment_not_found", "There is no such payment"),
    RefundNotFound: HttpError(404, "refund_not_found", "There is no such refund"),
    OutOfStock: HttpError(409, "out_of_stock", "Not enough in stock"),
    TooManyUnpaidOrders: HttpError(409, "too_many_unpaid_orders", "Too many unpaid orders"),
    OrderNotPayable: HttpError(409, "order_not_payable", "The order cannot be paid"),
    PaymentInProgress: HttpError(409, "payment_in_progress", "A payment is being opened already"),
    OrderPaid: HttpError(409, "order_paid", "The order is paid"),
    OrderInReview: HttpError(409, "order_in_review", "The order is in manual review"),
    RefundTooLarge: HttpError(409, "refund_too_large", "Not so much is left"),
    RefundKeyUsed: HttpError(409, "refund_key_used", "The key was used for another refund"),
    NotResolvable: HttpError(409, "not_resolvable", "This cannot be decided so"),
    UnknownSku: HttpError(422, "unknown_sku", "The catalogue has no such product"),
    MixedCurrency: HttpError(422, "mixed_currency", "The products have different currencies"),
    IdempotencyMismatch: HttpError(
        422, "idempotency_mismatch", "The key was used for another order"
    ),
    OrderEmpty: HttpError(422, "order_empty", "The order has no items"),
    Internal: HttpError(500, "internal_error", "Something went wrong on our side"),
    ProviderFailed: HttpError(502, "provider_error", "The payment provider failed"),
    ProviderUnavailable: HttpError(
        503, "provider_unavailable", "The payment provider is unreachable"
    ),
    NotDeferred: HttpError(503, "not_deferred", "The webhook could not be stored; send it again"),
    Unavailable: HttpError(503, "unavailable", "Something that we depend on does not answer"),
    CatalogueError: HttpError(500, "catalogue_error", "A product is not stored as it should be"),
    Busy: HttpError(503, "busy", "Too many requests for the same order at once"),
    ProviderTimeout: HttpError(
        504, "provider_timeout", "The payment provider did not answer in time"
    ),
}
