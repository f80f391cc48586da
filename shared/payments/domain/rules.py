"""The numbers of the rules, set by the operator. All times in seconds."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

type LateSuccessPolicy = Literal["reserve", "refund", "review"]


@dataclass(frozen=True)
class Rules:
    order_ttl: int
    lease: int
    link: int
    """How long a checkout page lives when the provider does not say."""
    check_after: tuple[int, ...]
    """Pauses between checks of what is open; the last one repeats."""
    final_check_after: tuple[int, ...]
    """Pauses between the checks of a closed payment, for a success that nobody reported."""
    unanswered_after: int
    """How long Chapa may give no usable answer, or a review stay open, between two alarms."""
    pending_grace: int
    """How long a payment that Chapa calls pending after its cancel still holds the stock."""
    hold_until_page_expires: bool
    """Whether an order keeps its stock while a page that the provider cannot close lives on."""
    verify_every: int
    """One payment is asked about once in this time at most."""
    late_success: LateSuccessPolicy


def pause_at(age: int, pauses: Sequence[int]) -> int:
    """The pause that follows at this age when the pauses come one after the other."""
    return pauses[min(bisect_right([*accumulate(pauses)], age), len(pauses) - 1)]
