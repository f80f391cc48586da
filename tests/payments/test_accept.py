from dataclasses import replace

from payments.domain import decisions
from payments.domain.events import OrderPaid, PaymentSucceeded
from payments.domain.records import Line, Order, Payment
from payments.domain.states import PaymentStatus

NOW = 1_800_000_000


def test_event_of_an_accepted_payment_has_the_amount_that_was_paid() -> None:
    order = Order("o", "u", 900, "ETB", (Line("MUG", "Mug", 1, 900),), NOW, NOW + 1800, "hash")
    payment = Payment("t", "chapa-v1", 900, "ETB", NOW)
    reviewed = replace(
        payment, status=PaymentStatus.REVIEW, paid_amount=100, paid_currency="USD", paid_at=NOW
    )
    aggregate = decisions.place(order).put(reviewed)
    accepted = decisions.accept(aggregate, reviewed, "operator", "the rest in cash", NOW)
    events = {type(event): event for event in accepted.new_events}
    assert events[PaymentSucceeded] == PaymentSucceeded(NOW, "t", None, 100, "USD")
    paid = events[OrderPaid]
    assert isinstance(paid, OrderPaid)
    assert (paid.amount, paid.currency) == (900, "ETB")
