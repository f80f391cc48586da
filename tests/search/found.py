"""Schedules that violated an invariant once."""

FOUND = [
    # A check that was skipped, because another had just been made, was the final one.
    "paid_after_final_check: webhook_until_answered, webhook_then_worker: 0 0 0 0 0 1 1 1 1 1 1",
    # A transaction conflict at the payment failed the check.
    "paid_unnoticed: status_refresh, webhook: 0 0 0:conflict",
]
