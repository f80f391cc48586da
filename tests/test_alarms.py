"""Each alarm on a metric of ours fires by its own cause, one on a metric of AWS at its level, and
none by what is normal."""

import ast
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from operators import doctor
from payments.domain.events import EVENTS
from payments.domain.ids import new_order_id, new_tx_ref
from payments.errors import TABLE
from payments.telemetry import metric_of, metrics
from payments.usecases import refund as refunds
from payments.usecases.sweep import MEASURED_LISTS
from tests.alarms import NAMESPACE, Datapoint, alarms, datapoints, in_alarm
from tests.shop import API_KEYS, Shop
from tests.template import ROOT, resources

DAY = 86_400


class Watched:
    """A shop whose metrics CloudWatch has seen."""

    def __init__(self, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
        self.shop = shop
        self._capsys = capsys
        self._points: list[Datapoint] = []

    def look(self) -> set[str]:
        """The names of the alarms that fire now."""
        self._points += datapoints(self._capsys.readouterr().out, self.shop.now)
        return {
            name for name, each in alarms().items() if in_alarm(each, self._points, self.shop.now)
        }


@pytest.fixture
def watched(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Watched:
    metrics.clear_metrics()
    return Watched(shop, capsys)


def broken(shop: Shop, error: Exception) -> None:
    """A request during which a call to the table fails."""

    def fail() -> None:
        raise error

    order_id = shop.order().body["order_id"]
    shop.before_aws("Query", fail)
    shop.http("initialize", {**PAY, "body": json.dumps({"order_id": order_id})})


PAY: dict[str, Any] = {
    "headers": {},
    "requestContext": {
        "http": {"method": "POST"},
        "authorizer": {"jwt": {"claims": {"sub": "abebe"}}},
    },
}
THROTTLED = ClientError({"Error": {"Code": "ThrottlingException"}}, "Query")


def bad_signature(w: Watched) -> None:
    w.shop.notify(w.shop.begun()[1])
    for _ in range(20):
        w.shop.webhook(b"{}", sign_with="forged")


def webhooks_refused(w: Watched) -> None:
    for _ in range(2):
        w.shop.webhook(b"{}", sign_with="the secret of before")
        w.look()
        w.shop.clock.advance(3600)
    w.shop.webhook(b"{}", sign_with="the secret of before")


def dependency_failed(w: Watched) -> None:
    for _ in range(3):
        broken(w.shop, THROTTLED)


def events_overdue(w: Watched) -> None:
    w.shop.paid()
    w.shop.clock.advance(3600)
    w.shop.sweep()


def night(w: Watched, hour: int) -> None:
    w.shop.clock.advance(DAY - w.shop.now % DAY + hour * 3600)
    w.shop.call("compare", {})


def payment_differs(w: Watched) -> None:
    _, tx_ref = w.shop.paid()
    w.shop.control.reverse(tx_ref, webhook=False)
    night(w, hour=1)


def comparison_overdue(w: Watched) -> None:
    w.shop.unanswered("list")
    night(w, hour=6)


def payment_reversed(w: Watched) -> None:
    _, tx_ref = w.shop.paid()
    w.shop.clock.advance(3)
    w.shop.control.reverse(tx_ref, webhook=False)
    w.shop.notify(tx_ref, "charge.reversed")


def payment_review(w: Watched) -> None:
    _, tx_ref = w.shop.begun()
    w.shop.control.pay(tx_ref, amount="1.00", webhook=False)
    w.shop.notify(tx_ref)


def payment_unanswered(w: Watched) -> None:
    w.shop.configure(unanswered_after_seconds="100")
    w.shop.begun()
    w.shop.unanswered()
    for _ in range(3):
        w.shop.clock.advance(100)
        w.shop.sweep()


def possible_reversal(w: Watched) -> None:
    _, tx_ref = w.shop.paid()
    w.shop.clock.advance(3)
    w.shop.control.add_fault("verify", "says", word="pending")
    w.shop.notify(tx_ref, "charge.reversed")


def provider_down(w: Watched) -> None:
    w.shop.begun()
    w.look()
    w.shop.clock.advance(60)
    w.shop.unanswered()
    for _ in range(32):
        w.shop.clock.advance(60)
        w.shop.sweep()
        w.look()


def provider_key_missing(w: Watched) -> None:
    _, tx_ref = w.shop.begun()
    w.shop.set_secret(api_key=API_KEYS["chapa-v2"], api_key_other="")
    w.shop.configure()
    w.shop.notify(tx_ref)


def provider_refused_key(w: Watched) -> None:
    w.shop.control.add_fault("initialize", "status", status=401)
    w.shop.pay(w.shop.order().body["order_id"])


def reconcile_failed(w: Watched) -> None:
    for _ in range(2):
        w.shop.call("reconcile", {"Records": [{"messageId": "1", "body": '{"not": "ours"}'}]})
        w.look()
        w.shop.clock.advance(360)


def refund_requested(w: Watched) -> str:
    _, tx_ref = w.shop.paid()
    refunds.request(w.shop.backend, tx_ref, None, key="ticket", reason="broken cup")
    return tx_ref


def refund_reversed(w: Watched) -> None:
    w.shop.control.switch(refund_ends="reversed")
    refund_requested(w)
    w.shop.work()
    w.shop.sweeps()


def refund_review(w: Watched) -> None:
    w.shop.control.add_fault("refund", "status", status=400)
    refund_requested(w)
    w.shop.work()


def refund_unanswered(w: Watched) -> None:
    w.shop.configure(unanswered_after_seconds="100")
    w.shop.unanswered("refund")
    refund_requested(w)
    w.shop.work()
    for _ in range(3):
        w.shop.clock.advance(100)
        w.shop.sweep()


def refunds_owed(w: Watched) -> None:
    refund_requested(w)
    w.shop.clock.advance(4 * DAY)
    w.shop.call("expire", {})


def oldest_due(w: Watched) -> None:
    w.shop.order()
    w.shop.clock.advance(1800)
    w.shop.call("expire", {})
    w.look()
    w.shop.clock.advance(1800)
    w.shop.call("expire", {})


def secret_not_read(w: Watched) -> None:
    w.shop.throttle_secret()
    w.shop.webhook(b"{}")


def webhook_secret_missing(w: Watched) -> None:
    w.shop.set_secret(webhook_secret="")
    w.shop.configure()
    w.shop.webhook(b"{}")


def unknown_payment(w: Watched) -> None:
    order_id = new_order_id(w.shop.random.randbytes)
    w.shop.notify(new_tx_ref(order_id, w.shop.random.randbytes))


def unknown_provider_status(w: Watched) -> None:
    _, tx_ref = w.shop.begun()
    w.shop.control.add_fault("verify", "says", word="on hold")
    w.shop.notify(tx_ref)


CAUSES: dict[str, Callable[[Watched], None]] = {
    "BadSignature": bad_signature,
    "ComparisonOverdue": comparison_overdue,
    "DependencyFailed": dependency_failed,
    "EventsOverdue": events_overdue,
    "InternalError": lambda w: broken(w.shop, ZeroDivisionError("a bug")),
    "OldestDue": oldest_due,
    "PaymentDiffers": payment_differs,
    "PaymentReversed": payment_reversed,
    "PaymentReview": payment_review,
    "PaymentUnanswered": payment_unanswered,
    "PossibleReversal": possible_reversal,
    "ProviderDown": provider_down,
    "ProviderKeyMissing": provider_key_missing,
    "ProviderRefusedKey": provider_refused_key,
    "ReconcileFailed": reconcile_failed,
    "RefundReversed": refund_reversed,
    "RefundReview": refund_review,
    "RefundUnanswered": refund_unanswered,
    "RefundsOwed": refunds_owed,
    "SecretNotRead": secret_not_read,
    "UnknownPayment": unknown_payment,
    "UnknownProviderStatus": unknown_provider_status,
    "WebhookSecretMissing": webhook_secret_missing,
    "WebhooksRefused": webhooks_refused,
}

ALSO = {"RefundsOwed": {"OldestDue", "EventsOverdue"}, "OldestDue": {"EventsOverdue"}}
"""Alarms that the same cause rightly fires: no refund is sent while no order is worked on, and this
shop publishes no events."""


def test_each_alarm_on_a_metric_of_ours_has_a_cause() -> None:
    assert CAUSES.keys() == alarms().keys()


@pytest.mark.parametrize("name", CAUSES)
def test_cause_fires_its_alarm_and_no_other(watched: Watched, name: str) -> None:
    CAUSES[name](watched)
    assert watched.look() == {name} | ALSO.get(name, set())


def test_webhooks_that_cannot_be_stored_fire_an_alarm_too(watched: Watched) -> None:
    def fail() -> None:
        raise THROTTLED

    _, tx_ref = watched.shop.begun()
    for _ in range(3):
        watched.shop.before_aws("Query", fail)
        assert watched.shop.notify(tx_ref).status == 503
    assert watched.look() == {"DependencyFailed"}


@pytest.mark.corrupts
def test_product_that_is_not_stored_as_it_should_be_fires_an_alarm_too(watched: Watched) -> None:
    watched.shop.table.update_item(
        Key={"pk": "STOCK#MUG", "sk": "STOCK"}, UpdateExpression="REMOVE unit_price"
    )
    assert watched.shop.order({"MUG": 1}).status == 500
    assert watched.look() == {"InternalError"}


OF_AWS: dict[str, tuple[float | None, float | None]] = {
    "5xx": (1, 2),
    "ApproximateAgeOfOldestMessage": (899, 900),
    "ApproximateNumberOfMessagesVisible": (0, 1),
    "Errors": (0, 1),
    "Invocations": (1, None),
    "IteratorAge": (299_999, 300_000),
    "NumberOfMessagesSent": (0, 1),
    "Throttles": (0, 1),
}
"""What AWS measures each minute: the most that is normal, and the least that fires an alarm. Of a
function that does not run it measures nothing."""


def test_alarm_on_a_metric_of_aws_fires_at_its_level_and_not_before() -> None:
    watching = [
        a for a in resources("AWS::CloudWatch::Alarm").values() if a["MetricName"] in OF_AWS
    ]
    assert len(watching) == len(resources("AWS::CloudWatch::Alarm")) - len(alarms())
    for alarm in watching:
        normal, firing = (each_minute(alarm["MetricName"], v) for v in OF_AWS[alarm["MetricName"]])
        assert not in_alarm(alarm, normal, now=1800)
        assert in_alarm(alarm, firing, now=1800)
    # One run of the schedule in a quarter of an hour is enough.
    stopped = resources("AWS::CloudWatch::Alarm")["SweepStoppedAlarm"]
    assert not in_alarm(stopped, [Datapoint(1000, "Invocations", 1)], now=1800)


def each_minute(metric: str, value: float | None) -> list[Datapoint]:
    return [] if value is None else [Datapoint(at, metric, value) for at in range(60, 1801, 60)]


def test_ordinary_day_fires_no_alarm(watched: Watched) -> None:
    shop = watched.shop
    order_id, tx_ref = shop.paid()
    shop.pay(order_id)
    shop.notify(tx_ref)
    shop.webhook(b"{}", sign_with="forged")
    shop.webhook(b"[]")
    shop.cancel(str(shop.order().body["order_id"]))
    _, abandoned = shop.begun()
    for _ in range(40):
        shop.clock.advance(60)
        shop.sweep()
        assert watched.look() - {"EventsOverdue"} == set()
    assert shop.payment(abandoned).status.value in {"closed", "pending"}


def literals() -> set[str]:
    """Every string in the product's code."""
    found = set()
    for path in (*ROOT.glob("functions/*/*.py"), *ROOT.glob("shared/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def named(functions: set[str], *places: str) -> set[str]:
    """The words that are given to these functions."""
    return {
        arg.value
        for place in places
        for path in ROOT.glob(place)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in functions
        for arg in node.args
        if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
    }


def emitted() -> set[str]:
    calls = named({"_act", "_ask", "_post"}, "shared/payments/chapa/*.py")
    outcomes = ("applied", "duplicate", "deferred", "ignored")
    return {
        *named({"count", "measure"}, "functions/*/*.py", "shared/**/*.py"),
        *(name for _, *both in MEASURED_LISTS for name in both),
        "ColdStart",
        *(metric_of(name) for name in EVENTS),
        *(f"Answered{known.status}" for known in TABLE.values()),
        *(f"Provider{''.join(map(str.capitalize, call.split('_')))}Time" for call in calls),
        *(f"Webhook{outcome.capitalize()}" for outcome in outcomes),
    }


def charted(widget: dict[str, Any]) -> set[str]:
    """The metrics of ours in a widget; a dot repeats the value above it."""
    names, above = set(), ""
    for row in widget["properties"]["metrics"]:
        if isinstance(row[0], dict):
            names |= set(re.findall(r'MetricName="(\w+)"', str(row)))
            continue
        above = above if row[0] == "." else row[0]
        if above == NAMESPACE:
            names.add(row[1])
    return names


def test_alarms_dashboard_and_doctor_use_only_metrics_that_are_emitted() -> None:
    [dashboard] = resources("AWS::CloudWatch::Dashboard").values()
    widgets = dashboard["DashboardBody"]["Fn::ToJsonString"]["widgets"]
    on_dashboard = set().union(*map(charted, widgets))
    assert {"OrderPaid", "ProviderVerifyTime", "OldestDueSeconds", "ColdStart"} <= on_dashboard
    used = on_dashboard | {alarm["MetricName"] for alarm in alarms().values()}
    used |= {*doctor.ACCEPTED, *named({"counted", "day"}, "operators/*.py")}
    assert "WebhookPreviousSecret" in used
    assert used - emitted() == set()
    for ending in (".review", ".unanswered", ".reversed"):
        assert {metric_of(name) for name in EVENTS if name.endswith(ending)} <= alarms().keys()


def test_log_lines_that_the_runbook_names_are_written() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    named = re.findall(r"lines? `([^`]+)`", text) + re.findall(r'--filter-pattern "([^"]+)"', text)
    assert len(named) > 8
    # Of a line that ends with the name of a call, the code has the beginning.
    words = {*literals(), *(f"unknown status in {call}" for call in ("verify", "verify_refund"))}
    assert "unknown status in " in words
    assert [line for line in named if not any(line in word for word in words)] == []


def test_each_alarm_has_a_section_of_the_runbook_and_each_section_an_alarm() -> None:
    descriptions = [a["AlarmDescription"] for a in resources("AWS::CloudWatch::Alarm").values()]
    links = [re.findall(r"See docs/runbook\.md#([a-z]+)$", text) for text in descriptions]
    assert all(len(found) == 1 for found in links)
    text = (ROOT / "docs/runbook.md").read_text()
    alarms_part = text.partition("\n## Alarms\n")[2].partition("\n## ")[0]
    sections = re.findall(r"^### (\w+)$", alarms_part, re.MULTILINE)
    assert sorted(map(str.lower, sections)) == sorted({found[0] for found in links})
    assert f"| {len(descriptions)} at 0.10 |" in (ROOT / "docs/deploy.md").read_text()
