"""The product uses one word for one thing: the words that these replaced do not come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [
    *(ROOT / "shared").rglob("*.py"),
    *(ROOT / "functions").rglob("*.py"),
    *(ROOT / "operators").rglob("*.py"),
    *(ROOT / name for name in ("operate", "template.yaml", "openapi.yaml")),
]

RETIRED = {
    "story": "aggregate",
    "stories": "aggregates",
    "ledger": "event log",
    "news": "events",
    "look": "check",
    "looks": "checks",
    "looked": "checked",
    "nudge": "early check",
    "nudged": "early check",
    "nudges": "early checks",
    "nudging": "early check",
    "looking": "checking",
    "surplus": "unapplied",
    "doubt": "possible reversal",
    "handle": "provider_refund_id",
    "handles": "provider_refund_id",
    "silence": "unanswered",
    "told": "received",
    "tell": "record",
    "tells": "records",
    "hears": "receives",
    "silent": "unanswered",
    "heard": "received",
    "hear": "receive",
    "heeded": "checked",
    "ring": "fire",
    "rings": "fires",
    "promise": "invariant",
    "promises": "invariants",
    "mishap": "injected fault",
    "planted": "seeded",
    "shut": "closed",
    "committed": "sold",
    "reserved_units": "held units",
}
"""The word that is used instead, by retired word."""


def words(text: str) -> set[str]:
    """Words, and the parts of identifiers: `LookAfterSeconds` and `claim_look` have `look`."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).lower()
    return set(re.findall(r"[a-z]+", apart)) | set(re.findall(r"[a-z_]+", apart))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_has_no_retired_word(path: Path) -> None:
    text = path.read_text().replace("ReceiptHandle", "")  # SQS's own name.
    assert {word: RETIRED[word] for word in words(text) & RETIRED.keys()} == {}


def test_parts_of_identifiers_are_found() -> None:
    assert {"look", "after", "seconds"} <= words("LookAfterSeconds")
    assert {"claim", "look"} <= words("claim_look")
