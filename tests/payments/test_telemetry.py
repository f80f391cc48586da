import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools import Metrics

from payments.domain.events import EVENTS, PaymentClosed, PaymentReview
from payments.telemetry import announce, count, metric_of, metrics, scrub

PRIVATE = {
    "e-mail address": "abebe.bikila@shop.example",
    "Amharic address": "አበበ@shop.example",
    "address in quotes": '"abebe@shop.example"',
    "national number": "0911234567",
    "international number": "+251911234567",
    "number with spaces": "+251 91 123 4567",
    "number with hyphens": "0911-23-45-67",
    "card number": "4200 0000 0000 0000",
    "test key": "CHASECK_TEST-0123456789abcdef",
    "live key": "CHASECK-abcdefghijkl",
    "live key in lower case": "chaseck-abcdefghijkl",
    "public key": "CHAPUBK_TEST-abcdefghijkl",
    "test key of v2": "CHAPA_TEST_abcdefghijkl",
    "live key of v2": "CHAPA_LIVE_abcdefghijkl",
}


@pytest.mark.parametrize("private", PRIVATE.values(), ids=PRIVATE)
@pytest.mark.parametrize("sentence", ["{}", "Refused: {}.", "before {} after", "({})", "a={}&b=c"])
def test_private_data_is_removed_from_foreign_text(sentence: str, private: str) -> None:
    scrubbed = scrub(sentence.format(private))
    assert private.strip('"') not in scrubbed
    assert "[removed]" in scrubbed


def test_all_private_data_is_removed() -> None:
    scrubbed = scrub(" and ".join(PRIVATE.values()))
    assert not any(private in scrubbed for private in PRIVATE.values())


@pytest.mark.parametrize(
    "words",
    [
        "Transaction reference has been used before",
        "The customization.title must not exceed 16 characters.",
        "Invalid currency, XXX is not supported",
        "amount must be greater than 0",
        "failed/cancelled",
        "",
    ],
)
def test_harmless_text_stays(words: str) -> None:
    assert scrub(words) == words


def test_long_text_is_cut() -> None:
    assert scrub("a" * 1_000_000) == "a" * 300  # A search over all of it would take an hour.
    assert scrub("a" * 1_000, limit=40) == "a" * 40


def test_key_is_removed_before_the_text_is_cut() -> None:
    assert "CHASECK" not in scrub("a" * 25 + " CHASECK-abcdefghijkl", limit=40)


@pytest.fixture
def clean_metrics() -> Iterator[Metrics]:
    metrics.clear_metrics()
    yield metrics
    metrics.clear_metrics()


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_event_becomes_a_log_line_and_a_metric(clean_metrics: Metrics, log: io.StringIO) -> None:
    announce("an-order", [PaymentReview(1_000, "a-ref", "amount")])
    [line] = lines(log)
    assert line["message"] == "payment.review"
    assert (line["order_id"], line["tx_ref"], line["reason"]) == ("an-order", "a-ref", "amount")
    assert set(clean_metrics.metric_set) == {"PaymentReview"}


def test_metric_is_named_after_the_event() -> None:
    assert metric_of("payment.unanswered") == "PaymentUnanswered"
    assert len({metric_of(name) for name in EVENTS}) == len(EVENTS)


def test_each_event_has_its_own_line_and_count(clean_metrics: Metrics, log: io.StringIO) -> None:
    announce("an-order", [PaymentClosed(1_000, ref, "why") for ref in "abc"])
    announce("an-order", [])
    assert [line["tx_ref"] for line in lines(log)] == ["a", "b", "c"]
    assert clean_metrics.metric_set["PaymentClosed"]["Value"] == [1, 1, 1]


def test_count_adds_one(clean_metrics: Metrics) -> None:
    count("Something")
    count("Something")
    assert clean_metrics.metric_set["Something"] == {
        "Unit": "Count",
        "StorageResolution": 60,
        "Value": [1, 1],
    }
