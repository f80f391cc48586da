"""Which journeys share a deployed stack: two stacks run side by side, each in one process."""

STACKS = ("stack-1", "stack-2")

SECOND = ("test_access", "test_browser", "test_expiry", "test_fuzz", "test_payment", "test_webhook")
"""Files that run on the second stack. Both stacks take about the same time."""

LAST = "test_what_is_left"
"""Runs at the end of each stack, on what the other tests left behind."""


def stack_of(nodeid: str) -> str:
    """Empty for a test that is no journey."""
    path, _, test = nodeid.partition("::")
    if "journeys/" not in path:
        return ""
    if LAST in path:
        return test.partition("[")[2].removesuffix("]")
    return STACKS[any(f"/{name}.py" in path for name in SECOND)]
