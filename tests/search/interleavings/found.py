"""Schedules that broke a promise once, each with what was wrong."""

FOUND = [
    # A look that found that somebody had asked a moment ago was the last one.
    "looked_at_for_the_last_time_and_paid: webhook_until_heard, webhook_and_worker: "
    "0 0 0 0 0 1 1 1 1 1 1",
    # A transaction at the payment made the look at it fail.
    "paid: refresh, webhook: 0 0 0:conflict",
]
