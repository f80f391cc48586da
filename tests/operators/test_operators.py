"""Every command of the operators' tool, in process on the shop's backend."""

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)
from moto import mock_aws

import operators.stack
from operators import cli
from operators.orders import LISTS, Status
from operators.stack import NEEDED, Stack, StackError, what_to_do
from payments.domain.states import OrderStatus, PaymentStatus, RefundStatus
from payments.errors import Busy, ConfigurationError
from payments.usecases.backend import Backend
from tests.environment import SETTINGS
from tests.operators.tool import ALMAZ, Run
from tests.shop import API_KEYS, Shop
from tests.template import ROOT


def reviewed(shop: Shop) -> tuple[str, str]:
    """An order whose payment brought one birr and is in manual review."""
    order_id, tx_ref = shop.begun()
    shop.control.pay(tx_ref, amount="1.00", webhook=False)
    shop.notify(tx_ref)
    assert shop.payment(tx_ref).status is PaymentStatus.REVIEW
    return order_id, tx_ref


def refused_refund(shop: Shop, run: Run) -> tuple[str, str]:
    """A refund in manual review: the ids of its order and of itself."""
    order_id, tx_ref = shop.paid()
    shop.control.add_fault("refund", "status", status=400)
    refund_id = run("refund", tx_ref, "--key", "T-1", "--json").data["refund_id"]
    shop.sweeps(2)
    assert shop.aggregate(order_id).refunds[0].status is RefundStatus.REVIEW
    return order_id, refund_id


@pytest.mark.parametrize(
    "words",
    [
        *("--json show ID", "show ID --json", "show --json ID"),
        *("--stack shop-2 --json show ID", "show ID --stack=shop-2 --json"),
    ],
)
def test_common_options_may_stand_anywhere(shop: Shop, run: Run, words: str) -> None:
    order_id = str(shop.order().body["order_id"])
    shown = run(*words.replace("ID", order_id).split())
    assert (shown.code, shown.data["order_id"], shown.err) == (0, order_id, "")
    assert cli.Session.stack.name == ("shop-2" if "shop-2" in words else "chapa-payments")


WRONG_ARGUMENTS = [
    "",
    "nonsense",
    "show",
    "show a b",
    "show a --stack",
    "list",
    "list --status nonsense",
    "list --status paid",
    "list --day 2026-02-30",
    "list --day 9999-12-31",
    "list --day 2026-11-22 --zone Mars",
    "events",
    "payments",
    "payments --day yesterday",
    "payments --day 9999-12-31",
    "payments --day 0001-01-01 --zone Asia/Tokyo",
    "list --status due --limit 0",
    "check",
    "resolve TX",
    "resolve TX --accept",
    "resolve TX --reason x",
    "resolve TX --accept --dismiss --reason x",
    "resolve TX --accept --reason=",
    "refund TX",
    "refund TX --key=",
    "refund TX --key k --amount abc",
    "refund TX --key k --amount 1.001",
    "refund TX --key k --amount=-1",
    "refund TX --key k --return MUG",
    "refund TX --key k --return MUG=0",
    "refund TX --key k --return =1",
    "retry-refund TX",
    "settle-refund TX",
    "dismiss-refund --reason x",
    "dismiss-refund TX --reason=",
    "catalogue",
    "catalogue set",
    "catalogue set MUG --price x",
    "catalogue set MUG --price 0",
    "catalogue set MUG --price 10000000",
    "catalogue set MUG --name=",
    "catalogue set A#B --name Pot --price 1",
    "catalogue set MUG --add x",
    "catalogue set MUG --add 1000000001",
    "forget",
    "logs",
    "logs TX --from nonsense",
    "logs TX --from 2026-11-22T10:00:00 --to 2026-11-22T09:00:00",
    "redrive now",
    "audit now",
]

REFUSED = [
    ("show aaaaaaaaaaaa", "There is no such order."),
    ("show AP404", "No order, payment or refund has this name."),
    ("check aaaaaaaaaaaaaaaaaaaa", "There is no such payment."),
    ("resolve TX --dismiss --reason x", "Chapa says that the money is there."),
    ("refund TX --key T --amount 900.01", "900.00 ETB of this payment can"),
    ("refund TX --key T --return COFFEE-250=3", "2 units of COFFEE-250 were sold"),
    ("retry-refund aaaaaaaaaaaaaaaaaaaa --reason x", "There is no such refund."),
    ("catalogue set NEW --add 1", "The catalogue has no such product."),
    ("catalogue set MUG --add=-3", "So many units are not available."),
]


def test_wrong_or_missing_arguments_end_with_two_and_change_nothing(
    shop: Shop, run: Run, subtests: pytest.Subtests
) -> None:
    _, tx_ref = shop.paid()
    before = shop.dump()
    for words in WRONG_ARGUMENTS:
        with subtests.test(words):
            result = run(*words.replace("TX", tx_ref).split())
            assert result.code == 2
            assert "Usage: ./operate" in result.err + result.out
    assert shop.dump() == before


def test_refused_command_prints_why_and_ends_with_one(
    shop: Shop, run: Run, subtests: pytest.Subtests
) -> None:
    _, tx_ref = shop.paid()
    before = shop.dump()
    for words, message in REFUSED:
        with subtests.test(words):
            result = run(*words.replace("TX", tx_ref).split(), "--json")
            assert (result.code, result.out) == (1, "")
            assert result.err.startswith(message)
    assert shop.dump() == before


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDenied"}}, "Query"),
        EndpointConnectionError(endpoint_url="https://dynamodb"),
        ConfigurationError("TABLE_NAME: missing"),
        Busy("Too many at once.", retry_after=1),
    ],
)
def test_command_that_could_not_ask_ends_with_two(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(shop.backend.repository), "read_with_events", fail)
    result = run("show", "a" * 12)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1


def aws_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "DescribeStacks")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (NoCredentialsError(), "aws sso login"),
        (NoRegionError(), "Set AWS_DEFAULT_REGION"),
        (ProfileNotFound(profile="x"), "list-profiles"),
        (UnauthorizedSSOTokenError(), "Sign in again"),
        (aws_error("ExpiredToken"), "Sign in again"),
        (aws_error("AccessDenied"), "may not DescribeStacks"),
        (EndpointConnectionError(endpoint_url="https://x"), "check the network"),
    ],
)
def test_sentence_about_an_aws_error_says_what_to_do(error: Exception, advice: str) -> None:
    assert advice in what_to_do(error)


def test_region_is_taken_from_the_variable_that_the_sentence_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [name] = re.findall(r"AWS_\w+", what_to_do(NoRegionError()))
    monkeypatch.setenv(name, "af-south-1")
    assert botocore.session.Session().get_config_variable("region") == "af-south-1"


def test_show_finds_an_order_by_every_name(shop: Shop, run: Run) -> None:
    order_id, tx_ref = shop.paid()
    refund_id = run("refund", tx_ref, "--key", "T-1", "--amount", "1", "--json").data["refund_id"]
    shop.sweep()
    [refund] = shop.aggregate(order_id).refunds
    for name in (
        *(order_id, tx_ref, refund_id),
        *(shop.payment(tx_ref).provider_reference, refund.provider_refund_id),
    ):
        shown = run("show", name, "--json").data
        assert (shown["order_id"], shown["status"]) == (order_id, "paid")
    assert (shown["payments"][0]["paid"], shown["refunds"][0]["amount"]) == (
        *("900.00 ETB", "1.00 ETB"),
    )
    assert (shown["amount"], shown["items"][0]["unit_price"]) == ("900.00 ETB", "450.00 ETB")
    assert shown["customer"] == "abebe"
    assert [event["name"] for event in shown["events"]] == shop.event_names(order_id)


def test_people_see_tables(shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    order_id, tx_ref = reviewed(shop)
    shown = run("show", order_id)
    assert shown.code == 0
    assert re.search(r"^status: pending$", shown.out, re.M)
    assert "payment.review" in shown.out
    assert tx_ref in run("list", "--status", "review").out.replace("\n", "")
    assert run("list", "--status", "owed").out == "Nothing.\n"


def test_list_shows_what_is_in_review_owed_unanswered_or_due(shop: Shop, run: Run) -> None:
    def listed(status: str, *more: str) -> list[dict[str, Any]]:
        result = run("list", "--status", status, "--json", *more)
        assert result.code == 0
        return list(result.data)

    assert [listed(status.value) for status in (*LISTS, Status.DUE)] == [[], [], [], []]
    in_review, tx_ref = reviewed(shop)
    assert [(row["order_id"], row["tx_ref"]) for row in listed("review")] == [(in_review, tx_ref)]
    assert listed("review")[0]["reason"].startswith("not as requested")
    owing, paid = shop.paid()
    refund_id = run("refund", paid, "--key", "T-1", "--json").data["refund_id"]
    assert [(row["order_id"], row["refund_id"]) for row in listed("owed")] == [(owing, refund_id)]
    shop.unanswered("refund")
    shop.sweep()
    assert [row["refund_id"] for row in listed("unanswered")] == [refund_id]
    shop.clock.advance(3600)
    assert {row["order_id"] for row in listed("due")} == {in_review, owing}
    assert len(listed("due", "--limit", "1")) == 1


def test_filters_of_a_list_narrow_it(shop: Shop, run: Run) -> None:
    paid, tx_ref = shop.paid()
    pending = str(shop.order({"MUG": 1}).body["order_id"])
    shop.order({"LAST": 1}, user="sara")

    def listed(*words: str) -> list[str]:
        return [row["order_id"] for row in run("list", *words, "--json").data]

    assert set(listed("--customer", "abebe")) == {paid, pending}
    assert listed("--customer", "abebe", "--status", "pending") == [pending]
    assert listed("--customer", "abebe", "--day", "2026-11-22") == [paid]
    assert listed("--day", "2026-11-22", "--status", "refunded") == []
    assert listed("--customer", "nobody") == []
    chapa_reference = str(shop.payment(tx_ref).provider_reference)
    for text in (paid, paid[3:9], tx_ref, tx_ref[12:], chapa_reference, chapa_reference[2:]):
        assert listed(text) == [paid]
    assert listed(tx_ref, "--customer", "sara") == []
    limited = run("list", "--customer", "abebe", "--limit", "1", "--json")
    assert (len(limited.data), "Only the first 1" in limited.err) == (1, True)


def test_timeline_says_when_and_after_how_long(shop: Shop, run: Run) -> None:
    order_id, tx_ref = shop.begun()
    shop.clock.advance(3 * 86_400 + 3600)
    shop.control.pay(tx_ref, webhook=False, late=True)
    shop.notify(tx_ref)
    rows = run("events", tx_ref, "--json").data
    assert [row["event"] for row in rows] == shop.event_names(order_id)
    assert (rows[0]["at"], rows[0]["after"]) == ("2026-11-22T09:00:00Z", "0 s")
    assert (rows[-1]["at"], rows[-1]["after"]) == ("2026-11-25T10:00:00Z", "3 d 1 h")


def test_records_that_do_not_fit_are_shown_one_below_the_other(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, tx_ref = reviewed(shop)
    assert f"tx_ref: {tx_ref}\n" in run("list", "--status", "review").out


@pytest.mark.parametrize(
    ("typed", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1), ("", 1), (None, 1)]
)
def test_money_moves_only_after_a_yes(
    shop: Shop, run: Run, monkeypatch: pytest.MonkeyPatch, typed: str | None, code: int
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return typed is not None

    order_id, tx_ref = shop.paid()
    monkeypatch.setattr("sys.stdin", Terminal(typed or ""))
    asked = run("refund", tx_ref, "--key", "T-1", yes=False)
    assert (asked.code, len(shop.aggregate(order_id).refunds)) == (code, 1 - code)
    assert "will be paid back to the customer." in asked.err
    assert ("--yes" in asked.err) is (typed is None)


class TestCheck:
    def test_reversal_without_a_webhook_is_found(self, shop: Shop, run: Run) -> None:
        order_id, tx_ref = shop.paid()
        shop.control.reverse(tx_ref, webhook=False)
        shop.clock.advance(3)
        checked = run("check", tx_ref, "--json")
        assert (checked.code, checked.data["status"]) == (0, "reversed")
        assert "next_check" not in checked.data
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        before = shop.dump()
        assert run("check", tx_ref).code == 0
        assert shop.dump() == before

    def test_success_after_the_final_check_is_found(self, shop: Shop, run: Run) -> None:
        order_id, tx_ref = shop.expired()
        shop.wait(order_id, 10 * 86_400)
        assert shop.aggregate(order_id).order.due_at is None
        shop.control.pay(tx_ref, late=True, webhook=False)
        assert run("check", tx_ref, "--json").data["status"] == "succeeded"

    def test_unanswered_check_ends_with_two(self, shop: Shop, run: Run) -> None:
        _, tx_ref = shop.begun()
        shop.unanswered()
        checked = run("check", tx_ref, "--json")
        assert (checked.code, checked.data["status"]) == (2, "pending")
        assert "no usable answer" in checked.err


class TestResolve:
    @pytest.mark.parametrize(
        ("decision", "status"), [("--accept", "succeeded"), ("--refund", "unapplied")]
    )
    def test_decision_is_recorded_with_the_aws_identity(
        self, shop: Shop, run: Run, decision: str, status: str
    ) -> None:
        order_id, tx_ref = reviewed(shop)
        for _ in range(2):
            resolved = run("resolve", tx_ref, decision, "--reason", "Bank statement", "--json")
            assert (resolved.code, resolved.data["status"]) == (0, status)
        events = run("show", order_id, "--json").data["events"]
        [event] = [event for event in events if event["name"] == "payment.resolved"]
        assert (event["decided_by"], event["reason"]) == (ALMAZ, "Bank statement")
        assert f"--{event['decision']}" == decision

    def test_payment_is_dismissed_unanswered_only_if_told_so(self, shop: Shop, run: Run) -> None:
        _, tx_ref = shop.begun()
        shop.unanswered()
        words = ("resolve", tx_ref, "--dismiss", "--reason", "Account closed")
        assert run(*words).code == 2
        assert run(*words, "--unanswered", "--json").data["status"] == "closed"


class TestRefund:
    def test_refund_is_requested_once_for_each_key(self, shop: Shop, run: Run) -> None:
        order_id, tx_ref = shop.paid()
        words = ("refund", tx_ref, "--key", "T-1", "--amount", "100.50", "--json")
        for _ in range(2):
            requested = run(*words, "--return", "COFFEE-250=1")
            assert requested.code == 0
            assert requested.data["amount"] == "100.50 ETB"
            assert requested.data["returns"] == {"COFFEE-250": 1}
        assert [r.amount for r in shop.aggregate(order_id).refunds] == [10_050]
        assert shop.available("COFFEE-250") == 9
        other = run(*words)
        assert (other.code, other.out) == (1, "")
        assert "This key was used" in other.err

    def test_goods_come_back_without_money(self, shop: Shop, run: Run) -> None:
        _, tx_ref = shop.paid()
        words = ("--amount", "0.00", "--return", "COFFEE-250=2", "--json")
        assert run("refund", tx_ref, "--key", "T-1", *words).data["status"] == "refunded"
        assert shop.available("COFFEE-250") == 10

    @pytest.mark.parametrize(
        ("command", "status"), [("retry-refund", "requested"), ("dismiss-refund", "dismissed")]
    )
    def test_refused_refund_is_retried_or_dismissed(
        self, shop: Shop, run: Run, command: str, status: str
    ) -> None:
        _, refund_id = refused_refund(shop, run)
        resolved = run(command, refund_id, "--reason", "x", "--json")
        assert (resolved.code, resolved.data["status"]) == (0, status)

    def test_refund_paid_outside_is_settled_and_audit_accepts_it(
        self, shop: Shop, run: Run
    ) -> None:
        order_id, refund_id = refused_refund(shop, run)
        resolved = run("settle-refund", refund_id, "--reason", "In cash", "--json")
        assert (resolved.code, resolved.data["status"]) == (0, "refunded")
        assert shop.aggregate(order_id).order.status is OrderStatus.REFUNDED
        assert shop.audit() == []


def test_product_is_added_changed_and_taken_off_sale(shop: Shop, run: Run) -> None:
    words = ("catalogue", "set", "POT", "--json")
    added = run(*words, "--name", "Coffee pot", "--price", "500", "--add", "5")
    assert (added.code, added.data) == (
        0,
        {
            "sku": "POT",
            "name": "Coffee pot",
            "price": "500.00 ETB",
            "available": 5,
            "stocked": 5,
            "for_sale": True,
        },
    )
    shop.units["POT"] = 5
    assert shop.order({"POT": 1}).status == 201
    changed = run(*words, "--price", "450", "--add=-1", "--not-for-sale").data
    shop.units["POT"] = 4
    assert (changed["price"], changed["available"], changed["stocked"]) == ("450.00 ETB", 3, 4)
    assert shop.order({"POT": 1}).code == "out_of_stock"
    assert run(*words, "--for-sale").data["for_sale"] is True
    assert shop.order({"POT": 1}).status == 201


def test_customer_is_forgotten_but_for_orders_that_have_not_ended(shop: Shop, run: Run) -> None:
    paid, _ = shop.paid()
    pending = str(shop.order({"MUG": 1}).body["order_id"])
    asked = run("forget", "abebe", yes=False)
    assert (asked.code, "of 2 orders will be deleted" in asked.err) == (1, True)
    for forgotten in (1, 0):
        done = run("forget", "abebe", "--json")
        assert (done.code, done.data["forgotten"]) == (1, forgotten)
        assert [row["order_id"] for row in done.data["kept"]] == [pending]
    assert run("list", paid, "--json").data[0]["customer"] == ""
    assert run("forget", "nobody", "--json").data == {
        "customer": "nobody",
        "forgotten": 0,
        "kept": [],
    }


class FakeSqs:
    """A queue of dead letters that answers empty once though messages are left."""

    def __init__(self) -> None:
        numbers = [str(number) for number in range(12)]
        self._answers = [numbers[:10], [], [], numbers[10:]]
        self.calls: list[tuple[str, str]] = []

    def receive_message(self, QueueUrl: str, WaitTimeSeconds: int, **_: Any) -> dict[str, Any]:  # noqa: N803
        assert QueueUrl == "dead"
        assert WaitTimeSeconds > 0
        bodies = self._answers.pop(0) if self._answers else []
        return {"Messages": [{"Body": b, "ReceiptHandle": b} for b in bodies]} if bodies else {}

    def send_message(self, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803
        self.calls.append((QueueUrl, MessageBody))

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        self.calls.append((QueueUrl, ReceiptHandle))


def test_redrive_sends_every_dead_letter_before_it_deletes_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = FakeSqs()
    monkeypatch.setattr("operators.health.boto3.client", lambda _: sqs)
    assert run("redrive", "--json").data == {"redriven": 12}
    expected = [(queue, str(n)) for n in range(12) for queue in ("alive", "dead")]
    assert sqs.calls == expected


@pytest.mark.corrupts
def test_audit_finds_violations_broken_items_and_what_waits_for_a_day(shop: Shop, run: Run) -> None:
    order_id, tx_ref = reviewed(shop)
    audit = run("audit", "--json")
    assert (audit.code, audit.data["violations"], audit.data["overdue"]) == (0, [], [])
    assert audit.data["items"] > 5
    shop.clock.advance(86_401)
    audit = run("audit", "--json")
    assert audit.code == 0
    assert audit.data["overdue"] == [
        f"payment {tx_ref} is in manual review since 2026-11-22T09:00:00Z"
    ]
    shop.stock_up("MUG", "Mug", 1, "ETB", -1)
    shop.table.put_item(Item={"pk": "ORDER#broken", "sk": "ORDER", "status": "lost"})
    audit = run("audit", "--json")
    assert audit.code == 1
    assert any("-1 units are available" in found for found in audit.data["violations"])
    assert any("ORDER#broken cannot be read" in found for found in audit.data["violations"])
    assert "violations" in run("audit").out
    lost = {"pk": f"ORDER#{order_id}", "sk": f"PAYMENT#{tx_ref}"}
    shop.table.update_item(Key=lost, AttributeUpdates={"amount": {"Action": "DELETE"}})
    [row] = run("list", "--status", "review", "--json").data
    assert (row["order_id"], "amount" in row["broken"]) == (order_id, True)
    shown = run("show", order_id, "--json")
    assert (shown.code, shown.data) == (1, row)


@pytest.mark.corrupts
def test_order_that_cannot_be_read_is_one_sentence_and_stops_nothing_else(
    shop: Shop, run: Run
) -> None:
    order_id, tx_ref = shop.paid()
    ended, _ = shop.paid({"LAST": 1})
    lost = {"pk": f"ORDER#{order_id}", "sk": f"PAYMENT#{tx_ref}"}
    shop.table.update_item(Key=lost, AttributeUpdates={"amount": {"Action": "DELETE"}})
    for words in ("check TX", "resolve TX --accept --reason x", "refund TX --key k"):
        result = run(*words.replace("TX", tx_ref).split())
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("Something is not stored as it should be: TypeError:")
        assert "./operate audit" in result.err
        assert result.err.count("\n") == 1
    done = run("forget", "abebe", "--json")
    assert (done.code, done.data["forgotten"]) == (1, 1)
    assert [row["order_id"] for row in done.data["kept"]] == [order_id]
    assert shop.aggregate(ended).order.user_id == ""


def test_provider_check_prints_rows_and_refuses_a_live_key(shop: Shop, run: Run) -> None:
    shop.set_secret(api_key=API_KEYS["chapa-v1"], api_key_other="")
    shop.clock.advance(60)
    checked = run("provider-check", "--json")
    assert (checked.code, checked.data[0]["answer"]) == (0, "200 Hosted Link")
    shop.control.add_fault("cancel", "status", status=404)
    assert run("provider-check").code == 1
    shop.configure(chapa_url="", chapa_url_other="")
    shop.set_secret(api_key="CHASECK-0123456789abcdefghij", api_key_other="")
    refused = run("provider-check")
    assert (refused.code, refused.out) == (1, "")
    assert "a test key only" in refused.err


class TestStack:
    def test_local_without_a_stack_could_not_ask(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for text in (None, "half a docu"):
            monkeypatch.setattr(operators.stack, "LOCAL", tmp_path / "stack.json")
            if text:
                operators.stack.LOCAL.write_text(text)
            result = run("audit", "--local")
            assert (result.code, result.out) == (2, "")
            assert result.err == "No local stack is running. Start one with `make up`.\n"

    def test_local_stack_is_used_with_its_own_credentials(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(operators.stack, "LOCAL", tmp_path / "stack.json")
        operators.stack.LOCAL.write_text('{"endpoint_url": "http://x", "region": "eu-west-1"}')
        for name in (
            *("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"),
            *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ):
            monkeypatch.setenv(name, "mine")
        operators.stack.use_local()
        assert os.environ["AWS_ENDPOINT_URL"] == "http://x"
        assert os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"
        assert os.environ["AWS_ACCESS_KEY_ID"] == "test"
        assert "AWS_PROFILE" not in os.environ

    def test_settings_are_those_of_the_deployed_function(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Aws:
            def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
                outputs = dict.fromkeys(NEEDED, "x") | {"ReconcileFunctionName": f"{StackName}-r"}
                pairs = [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()]
                return {"Stacks": [{"Outputs": pairs}]}

            def get_function_configuration(
                self,
                FunctionName: str,  # noqa: N803
                Qualifier: str,  # noqa: N803
            ) -> dict[str, Any]:
                assert (FunctionName, Qualifier) == ("shop-2-r", "live")
                return {"Environment": {"Variables": SETTINGS | {"SHOP_NAME": "Deployed"}}}

            def get_caller_identity(self) -> dict[str, str]:
                return {"Arn": ALMAZ}

        monkeypatch.setattr("operators.stack.boto3.client", lambda _service, **_: Aws())
        monkeypatch.setattr(
            Backend, "from_environment", lambda environment: environment["SHOP_NAME"]
        )
        assert Stack("shop-2").backend == "Deployed"  # type: ignore[comparison-overlap]
        assert Stack("shop-2").identity == ALMAZ
        assert shop.audit() == []


def test_stack_that_is_missing_or_another_one_is_named() -> None:
    with mock_aws():
        with pytest.raises(StackError, match=r"no stack 'shop-3' in us-east-1 .*--stack"):
            _ = Stack("shop-3").outputs
        other = '{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}'
        boto3.client("cloudformation").create_stack(StackName="other", TemplateBody=other)
        with pytest.raises(StackError, match="no output DeadLetterQueueUrl"):
            _ = Stack("other").outputs


OPERATE = Path(__file__).parents[2] / "operate"


def test_executable_runs_anywhere_with_the_environment_of_its_caller(tmp_path: Path) -> None:
    own = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    done = subprocess.run(
        [OPERATE, "list", "--status", "due", "--json"],
        cwd=tmp_path,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Could not ask:")
    assert "http://127.0.0.1:1" in done.stderr


def test_tool_prints_no_metrics_however_many_calls_it_makes() -> None:
    code = "import operators.cli, payments.telemetry as t; [t.count('X') for _ in range(200)]"
    environment = {"PYTHONPATH": "shared", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    assert done.stdout == b""
