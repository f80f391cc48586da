import json
from typing import Any

import pytest

from tests.operators.tool import Run
from tests.shop import Shop

MILLISECONDS = 1_795_338_000_000


class FakeLogs:
    """Two log groups, whose filter lets every line pass, as that of the local AWS."""

    def __init__(self, lines: dict[str, list[tuple[int, str]]]) -> None:
        self._lines = lines
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, name: str) -> Any:
        return type("Paginator", (), {"paginate": staticmethod(getattr(self, name))})

    def describe_log_groups(self, logGroupNamePrefix: str) -> Any:  # noqa: N803
        assert logGroupNamePrefix == "/aws/lambda/chapa-payments/"
        return [{"logGroups": [{"logGroupName": name} for name in self._lines]}]

    def filter_log_events(self, logGroupName: str, **query: Any) -> Any:  # noqa: N803
        self.asked.append(query)
        lines = self._lines[logGroupName]
        return [{"events": [{"timestamp": at, "message": text}]} for at, text in lines]


def test_lines_of_all_functions_about_an_order_are_shown_by_time(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, tx_ref = shop.begun()
    failed = {"message": "order not reconciled", "order_id": order_id, "level": "ERROR"}
    failed |= {"exception_name": "ValueError", "exception": "Traceback\nValueError: x"}
    webhook = {"message": "webhook", "level": "INFO", "tx_ref": tx_ref, "outcome": "applied"}
    client = FakeLogs(
        {
            "/aws/lambda/chapa-payments/webhook": [
                (MILLISECONDS + 1, json.dumps(webhook)),
                (MILLISECONDS, json.dumps(webhook | {"tx_ref": "another"})),
            ],
            "/aws/lambda/chapa-payments/reconcile": [
                (MILLISECONDS, f"no JSON about {tx_ref}"),
                (MILLISECONDS + 2, json.dumps(failed)),
            ],
        }
    )
    monkeypatch.setattr("operators.logs.boto3.client", lambda _: client)
    lines = run("logs", tx_ref, "--json").data
    assert [(line["function"], line["message"]) for line in lines] == [
        ("reconcile", f"no JSON about {tx_ref}"),
        ("webhook", "webhook"),
        ("reconcile", "order not reconciled"),
    ]
    [asked, _] = client.asked
    # From when the order was placed; tx_refs and refund ids begin with its id.
    assert asked["startTime"] == (shop.now - 60) * 1000
    assert f'$.tx_ref = "{order_id}*"' in asked["filterPattern"]
    people = run("logs", order_id).out
    assert "ValueError: x" in people
    assert "Traceback" not in people
    run("logs", order_id, "--from", "2026-11-22T08:00", "--to", "2026-11-22T09:00:00")
    assert client.asked[-1]["startTime"] == 1_795_334_400_000
    assert client.asked[-1]["endTime"] == 1_795_338_000_000
