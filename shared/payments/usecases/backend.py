"""What the use cases work with, put together once per process."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from payments.aws.catalogue import Catalogue
from payments.aws.clients import client, client_at_first_use
from payments.aws.comparisons import Comparisons
from payments.aws.lists import Lists
from payments.aws.queue import Queue
from payments.aws.repository import Repository, Unpaid
from payments.aws.secrets import SecretStore
from payments.aws.table import Stale
from payments.chapa.provider import Provider
from payments.chapa.v1 import ChapaV1
from payments.chapa.v2 import ChapaV2
from payments.domain import checks
from payments.domain.aggregate import Event, OrderAggregate
from payments.domain.ids import RandomBytes, is_order_id, order_id_of, refund_reference
from payments.domain.records import Payment
from payments.domain.rules import Rules
from payments.errors import Busy, OrderNotFound, PaymentNotFound, RefundNotFound
from payments.settings import Settings
from payments.telemetry import announce
from payments.web.views import details_view

RESERVED_SECONDS = 2.0
"""Of each invocation, kept for storing what the provider said and for answering."""

ENOUGH_SECONDS = 8.0
"""With less time left the provider is not asked: each of three tries would get less than two
seconds, and that would only count as an unanswered check."""

STALE_TRIES = 6
"""How often one decision is made again because another process wrote the order first."""


class LambdaContext(Protocol):
    def get_remaining_time_in_millis(self) -> int: ...


def providers(settings: Settings, secrets: SecretStore) -> Mapping[str, ChapaV1 | ChapaV2]:
    """Every version, by its name. The secret decides, call by call, which of them have a key."""
    return {each.name: each for each in (ChapaV1(settings, secrets), ChapaV2(settings, secrets))}


@dataclass(frozen=True)
class Backend:
    settings: Settings
    rules: Rules
    secrets: SecretStore
    repository: Repository
    catalogue: Catalogue
    lists: Lists
    comparisons: Comparisons
    providers: Mapping[str, Provider]
    """By the name that payments store."""
    queue: Queue
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random_bytes: RandomBytes = os.urandom
    deadline: float = float("inf")
    """On the monotonic clock: when work must be done."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Backend":
        """Raises ConfigurationError. Calls nothing yet: the secret is read at first use."""
        settings = Settings.from_environment(environment)
        secrets = SecretStore(
            client_at_first_use("secretsmanager"),
            settings.secret_id,
            settings.chapa_url,
            settings.chapa_url_other,
        )
        table = (client("dynamodb"), settings.table_name)
        return cls(
            settings=settings,
            rules=settings.rules,
            secrets=secrets,
            repository=Repository(*table, republish_after=settings.republish_after_seconds),
            catalogue=Catalogue(*table),
            lists=Lists(*table),
            comparisons=Comparisons(*table),
            providers=providers(settings, secrets),
            queue=Queue(client_at_first_use("sqs"), settings.queue_url),
        )

    def within(self, context: LambdaContext) -> "Backend":
        """The same, bounded by what is left of one invocation."""
        left = context.get_remaining_time_in_millis() / 1000 - RESERVED_SECONDS
        return replace(self, deadline=self.monotonic() + left)

    @property
    def now(self) -> int:
        return int(self.clock())

    @property
    def time_left(self) -> float:
        return self.deadline - self.monotonic()

    @property
    def has_time(self) -> bool:
        """Whether there is time to ask the provider."""
        return self.time_left >= ENOUGH_SECONDS

    def provider(self, payment: Payment) -> Provider:
        """The provider that opened the payment; it settles, closes and refunds it, too."""
        return self.providers[payment.provider]

    def current_provider(self) -> Provider:
        """The provider of new payments. Raises ConfigurationError or Unavailable."""
        return self.providers[self.secrets.current().provider]

    def read(self, order_id: str) -> OrderAggregate:
        """Raises OrderNotFound."""
        aggregate = self.repository.read(order_id) if is_order_id(order_id) else None
        if aggregate is None:
            raise OrderNotFound("There is no such order.", order_id=order_id)
        return aggregate

    def read_owned(self, order_id: str, user_id: str) -> OrderAggregate:
        """Raises OrderNotFound for somebody else's order too: an id shows nothing to strangers."""
        aggregate = self.read(order_id)
        if aggregate.order.user_id != user_id:
            raise OrderNotFound("There is no such order.", order_id=order_id)
        return aggregate

    def find(self, tx_ref: str) -> OrderAggregate:
        """The aggregate of a payment. Raises PaymentNotFound."""
        order_id = order_id_of(tx_ref)
        aggregate = self.repository.read(order_id) if order_id else None
        if aggregate is None or aggregate.payment(tx_ref) is None:
            raise PaymentNotFound("There is no such payment.", tx_ref=tx_ref)
        return aggregate

    def find_by_reference(self, reference: str) -> tuple[OrderAggregate, str]:
        """The aggregate and the tx_ref of a payment, found by it or by a reference of its refunds.

        Raises PaymentNotFound.
        """
        order_id = order_id_of(reference)
        aggregate = self.repository.read(order_id) if order_id else None
        if aggregate is not None:
            if aggregate.payment(reference) is not None:
                return aggregate, reference
            for refund in aggregate.refunds:
                if reference == refund_reference(refund.refund_id, refund.attempt):
                    return aggregate, refund.tx_ref
        raise PaymentNotFound("There is no such payment.", tx_ref=reference)

    def find_refund(self, refund_id: str) -> OrderAggregate:
        """The aggregate of a refund. Raises RefundNotFound."""
        order_id = order_id_of(refund_id)
        aggregate = self.repository.read(order_id) if order_id else None
        if aggregate is None or aggregate.refund(refund_id) is None:
            raise RefundNotFound("There is no such refund.", refund_id=refund_id)
        return aggregate

    def attempts(self) -> Iterator[int]:
        """One number for each try of an optimistic write; raises Busy after the last."""
        yield from range(STALE_TRIES)
        raise Busy("The order is being changed by too many at once.", retry_after=1)

    def save(
        self, before: OrderAggregate | None, after: OrderAggregate, unpaid: Unpaid | None = None
    ) -> OrderAggregate:
        """Save with the times of the next checks, then log and count the events.

        Raises Stale, OutOfStock, CatalogueError or Busy, as the repository does.
        """
        if after == before:
            return after
        scheduled = checks.schedule(before, after, self.now, self.rules)
        saved = self.repository.save(before, scheduled, unpaid)
        for event in after.new_events:
            announce(
                event.name,
                after.order.order_id,
                **_moved(event, before, after),
                **details_view(event),
            )
        return saved

    def change(
        self, aggregate: OrderAggregate, step: Callable[[OrderAggregate], OrderAggregate]
    ) -> OrderAggregate:
        """Apply a step that is right for whatever the aggregate is when it is written."""
        for _ in self.attempts():
            try:
                return self.save(aggregate, step(aggregate))
            except Stale:
                aggregate = self.read(aggregate.order.order_id)
        raise AssertionError("unreachable")


def _moved(event: Event, before: OrderAggregate | None, after: OrderAggregate) -> dict[str, str]:
    """The statuses, before and after, of what an event is about; new things have none before."""
    statuses = {"from": _status(event, before), "to": _status(event, after)}
    return {name: status for name, status in statuses.items() if status is not None}


def _status(event: Event, aggregate: OrderAggregate | None) -> str | None:
    if aggregate is None:
        return None
    match event.name.partition(".")[0]:
        case "order":
            return aggregate.order.status.value
        case "payment":
            payment = aggregate.payment(getattr(event, "tx_ref", ""))
            return payment.status.value if payment else None
        case "refund":
            refund = aggregate.refund(getattr(event, "refund_id", ""))
            return refund.status.value if refund else None
        case _:
            return None
