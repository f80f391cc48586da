import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

import operators.__main__ as tool
from tests.shop import Shop

type Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on the shop: its exit code, and its result or else its error message."""
    stack = {"DeadLetterQueueUrl": "", "QueueUrl": "", "TableName": "payments"}
    monkeypatch.setattr(tool, "outputs", lambda _: stack)
    monkeypatch.setattr(tool, "backend_of", lambda _: shop.backend)

    def run(*argv: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = tool.main(list(argv))
        printed = capsys.readouterr()
        start = printed.out.find("{\n")  # after the log lines
        return code, printed.err if start < 0 else json.loads(printed.out[start:])

    return run


def test_show_prints_an_order_with_its_event_log(shop: Shop, run: Run) -> None:
    order_id, tx_ref = shop.paid()
    code, shown = run("show", order_id)
    assert code == 0
    assert (shown["status"], shown["stock"]) == ("paid", "committed")
    assert shown["payments"][0]["tx_ref"] == tx_ref
    assert [event["name"] for event in shown["ledger"]][-1] == "order.paid"


def test_refund_is_requested_once_for_each_key(shop: Shop, run: Run) -> None:
    order_id, tx_ref = shop.paid()
    for _ in range(2):
        code, refund = run("refund", tx_ref, "--key", "T-1", "--amount", "100.50")
        assert (code, refund["amount"], refund["status"]) == (0, "100.50", "requested")
    assert [r.amount for r in shop.story(order_id).refunds] == [10_050]


def test_ask_finds_a_reversal_without_a_webhook(shop: Shop, run: Run) -> None:
    order_id, tx_ref = shop.paid()
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(3)
    code, asked = run("ask", tx_ref)
    assert (code, asked["status"], asked["next_look"]) == (0, "succeeded", "2026-11-22T09:00:03Z")
    shop.work()
    assert shop.payment(tx_ref).status == "reversed"
    assert shop.story(order_id).order.status == "refunded"


def test_ask_finds_a_success_after_the_final_check(shop: Shop, run: Run) -> None:
    order_id, tx_ref = shop.begun()
    for _ in range(10):
        shop.clock.advance(86_400)
        shop.sweep()
    assert shop.story(order_id).order.due_at is None
    shop.control.pay(tx_ref, late=True, webhook=False)
    assert run("ask", tx_ref)[1]["status"] == "closed"
    shop.work()
    assert shop.payment(tx_ref).status == "succeeded"


def test_ask_schedules_nothing_for_a_reversed_payment(shop: Shop, run: Run) -> None:
    _, tx_ref = shop.paid()
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(3)
    shop.notify(tx_ref, "charge.reversed")
    before = shop.dump()
    code, asked = run("ask", tx_ref)
    assert (code, asked["status"], asked["next_look"]) == (0, "reversed", None)
    assert shop.dump() == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("refund", "TX_REF", "--key", "T", "--amount", "900.01"),
            "900.00 ETB of this payment can",
        ),
        (("show", "a" * 20), "There is no such order."),
        (("ask", "a" * 20 + "-nothing"), "There is no such payment."),
    ],
)
def test_refused_command_prints_one_sentence(
    shop: Shop, run: Run, argv: tuple[str, ...], message: str
) -> None:
    _, tx_ref = shop.paid()
    code, printed = run(*(tx_ref if word == "TX_REF" else word for word in argv))
    assert code == 1
    assert printed.startswith(message)


@pytest.mark.parametrize("amount", ["abc", "1.001", "-1"])
def test_malformed_amount_is_refused(run: Run, amount: str) -> None:
    with pytest.raises(SystemExit):
        run("refund", "x", "--key", "k", f"--amount={amount}")


def test_redrive_moves_every_dead_letter_to_the_queue(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = boto3.client("sqs")
    dead, queue = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("dead", "queue"))
    for number in range(12):
        sqs.send_message(QueueUrl=dead, MessageBody=str(number))
    monkeypatch.setattr(tool, "outputs", lambda _: {"DeadLetterQueueUrl": dead, "QueueUrl": queue})
    assert run("redrive") == (0, {"redriven": 12})
    received: set[str] = set()
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        received |= {message["Body"] for message in messages}
    assert received == {str(number) for number in range(12)}
    assert "Messages" not in sqs.receive_message(QueueUrl=dead)


@pytest.mark.corrupts
def test_audit_checks_the_whole_table(shop: Shop, run: Run) -> None:
    shop.paid()
    code, audit = run("audit")
    assert (code, audit["violations"]) == (0, [])
    assert audit["items"] > 5
    shop.stock_up("MUG", "Mug", 1, "ETB", -1)
    code, audit = run("audit")
    assert code == 1
    assert "below zero" in str(audit["violations"])


def test_make_operate_uses_the_aws_account_of_its_caller() -> None:
    caller = {"AWS_PROFILE": "shop", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = subprocess.run(
        ["make", "--eval", "shown: ; @env", "shown"],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], **caller},
        capture_output=True,
        text=True,
        check=True,
    )
    for name, value in caller.items():
        assert f"{name}={value}" in done.stdout.splitlines()
