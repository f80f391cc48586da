import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools import Metrics

from payments.domain.events import EVENTS
from payments.domain.states import PaymentStatus
from payments.telemetry import (
    PROVIDER_MS,
    announce,
    called,
    count,
    decided,
    logger,
    metric_of,
    metrics,
    scrub,
)

PRIVATE = ["abebe.bikila@shop.example", "አበበ@shop.example", '"abebe@shop.example"', "0911234567"]
PRIVATE += ["+251911234567", "+251 91 123 4567", "0911-23-45-67", "4200 0000 0000 0000"]
PRIVATE += ["CHASECK_TEST-0123456789abcdef", "CHASECK-abcdefghijkl", "chaseck-abcdefghijkl"]
PRIVATE += ["CHAPUBK_TEST-abcdefghijkl", "CHAPA_TEST_abcdefghijkl", "CHAPA_LIVE_abcdefghijkl"]
HARMLESS = ["Transaction reference has been used before", "failed/cancelled", ""]
HARMLESS += ["The customization.title must not exceed 16 characters.", "amount must be more than 0"]
HARMLESS += ["Invalid currency, XXX is not supported"]


@pytest.mark.parametrize("private", PRIVATE)
@pytest.mark.parametrize("sentence", ["{}", "Refused: {}.", "before {} after", "({})", "a={}&b=c"])
def test_private_data_is_removed_from_foreign_text(sentence: str, private: str) -> None:
    scrubbed = scrub(sentence.format(private))
    assert private.strip('"') not in scrubbed
    assert "[removed]" in scrubbed


def test_all_private_data_is_removed() -> None:
    scrubbed = scrub(" and ".join(PRIVATE))
    assert not any(private in scrubbed for private in PRIVATE)


@pytest.mark.parametrize("words", HARMLESS)
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
    logger.remove_keys([PROVIDER_MS])
    yield metrics
    metrics.clear_metrics()


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_event_becomes_a_log_line_and_a_metric(clean_metrics: Metrics, log: io.StringIO) -> None:
    announce("payment.review", "an-order", tx_ref="a-ref", reason="amount")
    [line] = lines(log)
    assert line["message"] == "payment.review"
    assert (line["order_id"], line["tx_ref"], line["reason"]) == ("an-order", "a-ref", "amount")
    assert set(clean_metrics.metric_set) == {"PaymentReview"}


def test_metric_is_named_after_the_event() -> None:
    assert metric_of("payment.unanswered") == "PaymentUnanswered"
    assert len({metric_of(name) for name in EVENTS}) == len(EVENTS)


def test_decision_has_the_time_of_its_calls_and_the_next_decision_has_not(
    clean_metrics: Metrics, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1")
    facts: Any = {"order_id": "an-order", "tx_ref": "a-ref"}
    facts |= {"before": PaymentStatus.PENDING, "after": PaymentStatus.SUCCEEDED}
    called("cancel", 0.25, answered=False)
    called("verify_refund", 1.5, answered=True)
    called("verify_refund", 0.5, answered=True)
    decided("check", "applied", **facts)
    decided("check", "duplicate", **facts)
    first, second = lines(log)
    assert first["provider_ms"] == {"cancel": 250, "verify_refund": 2000}
    assert (first["message"], first["what"], first["outcome"]) == ("decision", "check", "applied")
    assert (first["from"], first["to"]) == ("pending", "succeeded")
    assert first["xray_trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"
    assert "provider_ms" not in second
    counted = {name: metric["Value"] for name, metric in clean_metrics.metric_set.items()}
    assert counted == {
        "ProviderAnswered": [0, 1, 1],
        "ProviderCancelTime": [250],
        "ProviderVerifyRefundTime": [1500, 500],
    }


def test_count_adds_one(clean_metrics: Metrics) -> None:
    count("Something")
    count("Something")
    metric = clean_metrics.metric_set["Something"]
    assert metric == {"Unit": "Count", "StorageResolution": 60, "Value": [1, 1]}
