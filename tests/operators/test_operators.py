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


@pytest.fixture
def run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any]]:
    monkeypatch.setattr(tool, "outputs", lambda _: {"DeadLetterQueueUrl": "", "QueueUrl": ""})
    monkeypatch.setattr(tool, "backend_of", lambda _: shop.backend)

    def run(*argv: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = tool.main(list(argv))
        said = capsys.readouterr()
        return code, json.loads(said.out[said.out.index("{") :]) if code == 0 else said.err

    return run


def paid(shop: Shop) -> tuple[str, str]:
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, webhook=False)
    shop.notify(tx_ref)
    return order_id, tx_ref


def test_an_order_is_shown_with_all_that_happened_to_it(
    shop: Shop, run: Callable[..., tuple[int, Any]]
) -> None:
    order_id, tx_ref = paid(shop)
    code, shown = run("show", order_id)
    assert code == 0
    assert (shown["status"], shown["stock"]) == ("paid", "committed")
    assert shown["payments"][0]["tx_ref"] == tx_ref
    assert [event["name"] for event in shown["ledger"]][-1] == "order.paid"


def test_a_refund_is_promised_once_for_each_key(
    shop: Shop, run: Callable[..., tuple[int, Any]]
) -> None:
    order_id, tx_ref = paid(shop)
    for _ in range(2):
        code, promised = run("refund", tx_ref, "--key", "T-1", "--amount", "100.50")
        assert (code, promised["amount"], promised["status"]) == (0, "100.50", "requested")
    assert [r.amount for r in shop.story(order_id).refunds] == [10_050]


def test_a_reversal_of_which_nobody_told_is_found_by_whoever_asks(
    shop: Shop, run: Callable[..., tuple[int, Any]]
) -> None:
    order_id, tx_ref = paid(shop)
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(3)
    code, asked = run("ask", tx_ref)
    assert (code, asked["status"], asked["next_look"]) == (0, "succeeded", "2026-11-22T09:00:03Z")
    shop.work()
    assert shop.payment(tx_ref).status == "reversed"
    assert shop.story(order_id).order.status == "refunded"


def test_a_success_that_chapa_denied_for_long_is_found_by_whoever_asks(
    shop: Shop, run: Callable[..., tuple[int, Any]]
) -> None:
    order_id, tx_ref = shop.begun()
    for _ in range(10):
        shop.clock.advance(86_400)
        shop.sweep()
    assert shop.story(order_id).order.due_at is None
    shop.control.pay(tx_ref, late=True, webhook=False)
    assert run("ask", tx_ref)[1]["status"] == "closed"
    shop.work()
    assert shop.payment(tx_ref).status == "succeeded"


def test_what_went_back_is_not_asked_about(shop: Shop, run: Callable[..., tuple[int, Any]]) -> None:
    _, tx_ref = paid(shop)
    shop.control.reverse(tx_ref, webhook=False)
    shop.clock.advance(3)
    shop.notify(tx_ref, "charge.reversed")
    before = shop.dump()
    code, asked = run("ask", tx_ref)
    assert (code, asked["status"], asked["next_look"]) == (0, "reversed", None)
    assert shop.dump() == before
    code, said = run("ask", "a" * 20 + "-nothing")
    assert (code, said.strip()[:26]) == (1, "There is no such payment. ")


def test_what_cannot_be_done_is_said_in_a_sentence(
    shop: Shop, run: Callable[..., tuple[int, Any]]
) -> None:
    _, tx_ref = paid(shop)
    code, said = run("refund", tx_ref, "--key", "T-1", "--amount", "900.01")
    assert code == 1
    assert said.startswith("900.00 ETB of this payment can be refunded.")
    code, said = run("show", "a" * 20)
    assert code == 1
    assert said.startswith("There is no such order.")


@pytest.mark.parametrize("amount", ["abc", "1.001", "-1"])
def test_an_amount_that_is_none_is_not_taken(
    run: Callable[..., tuple[int, Any]], amount: str
) -> None:
    with pytest.raises(SystemExit):
        run("refund", "x", "--key", "k", f"--amount={amount}")


def test_dead_letters_are_handed_to_the_worker_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sqs = boto3.client("sqs")
    dead, alive = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("dead", "alive"))
    for number in range(12):
        sqs.send_message(QueueUrl=dead, MessageBody=str(number))
    queues = {"DeadLetterQueueUrl": dead, "QueueUrl": alive}
    monkeypatch.setattr(tool, "outputs", lambda _: queues)
    assert tool.main(["redrive"]) == 0
    assert json.loads(capsys.readouterr().out) == {"redriven": 12}
    received: set[str] = set()
    while messages := sqs.receive_message(QueueUrl=alive, MaxNumberOfMessages=10).get("Messages"):
        received |= {message["Body"] for message in messages}
    assert received == {str(number) for number in range(12)}
    assert "Messages" not in sqs.receive_message(QueueUrl=dead)


def test_an_audit_judges_the_whole_table(
    shop: Shop, run: Callable[..., tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(shop)
    monkeypatch.setattr(tool, "outputs", lambda _: {"TableName": "payments"})
    code, judged = run("audit")
    assert (code, judged["violations"]) == (0, [])
    assert judged["items"] > 5


@pytest.mark.corrupts
def test_an_audit_that_finds_something_fails(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.stock_up("MUG", "Mug", 1, "ETB", -1)
    monkeypatch.setattr(tool, "outputs", lambda _: {"TableName": "payments"})
    monkeypatch.setattr(tool, "backend_of", lambda _: shop.backend)
    assert tool.main(["audit"]) == 1
    assert "below zero" in capsys.readouterr().out


def test_make_operate_reaches_the_account_of_whoever_calls_it() -> None:
    theirs = {"AWS_PROFILE": "shop", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = subprocess.run(
        ["make", "--eval", "shown: ; @env", "shown"],
        cwd=Path(__file__).parents[2],
        env=os.environ | theirs,
        capture_output=True,
        text=True,
        check=True,
    )
    for name, value in theirs.items():
        assert f"{name}={value}" in done.stdout.splitlines()
