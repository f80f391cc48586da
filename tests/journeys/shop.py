"""The deployed shop that the journeys use: a client with builders, and a way to let time pass."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

from operators.invariants import violations
from sandbox.client import Client, Response, until
from sandbox.stack import Description
from tests.journeys.logs import Logs

CUSTOMER = {
    "first_name": "Birtukan",
    "last_name": "Woldegiorgis",
    "email": "birtukan.w@shopper.et",
    "phone_number": "0911928374",
}
"""The customer of every order. No log line may contain any of it."""

PRICE = 45_050


class DeployedShop(Client):
    _numbers = count(1)

    def __init__(self, stack: Description) -> None:
        super().__init__(stack)
        self.logs = Logs(self.aws("logs"))
        self.schedule = self._stop_schedule()
        """As it was deployed."""

    def _stop_schedule(self) -> dict[str, Any]:
        """From now on sweeps run only where a test calls them, and race with no test."""
        scheduler = self.aws("scheduler")
        [found] = scheduler.list_schedules()["Schedules"]
        names = {"Name": found["Name"], "GroupName": found["GroupName"]}
        schedule: dict[str, Any] = scheduler.get_schedule(**names)
        kept = {
            name: schedule[name] for name in ("ScheduleExpression", "FlexibleTimeWindow", "Target")
        }
        scheduler.update_schedule(**names, **kept, State="DISABLED")
        return schedule

    def product(self, units: int = 10, sku: str | None = None) -> str:
        """The SKU of a product that no other test sells."""
        sku = sku or f"product-{next(self._numbers)}"
        self.sell(sku, units, PRICE)
        return sku

    def ordered(self, sku: str, quantity: int = 2, *, user: str = "abebe") -> str:
        response = self.place({sku: quantity}, user=user, customer=CUSTOMER)
        assert response.status == 201, response
        return str(response["order_id"])

    def begun(self, sku: str, quantity: int = 2) -> tuple[str, str]:
        """Order id and tx_ref of an order whose payment page is open."""
        order_id = self.ordered(sku, quantity)
        response = self.initialize(order_id)
        assert response.status == 201, response
        return order_id, str(response["tx_ref"])

    def paid(self, sku: str, quantity: int = 2) -> tuple[str, str]:
        order_id, tx_ref = self.begun(sku, quantity)
        self.chapa.pay(tx_ref, webhook=False)
        assert self.notify(body_about(tx_ref))["outcome"] == "applied"
        return order_id, tx_ref

    def expired(self, sku: str, quantity: int = 2) -> tuple[str, str]:
        order_id, tx_ref = self.begun(sku, quantity)
        self.make_due(order_id, expires=True)
        self.sweep()
        self.await_order(order_id, "expired")
        return order_id, tx_ref

    def await_payment(self, tx_ref: str, status: str) -> None:
        def check() -> str:
            self.check(tx_ref.partition("-")[0])
            return str(self.payment(tx_ref)["status"])

        until(check, lambda seen: seen == status, f"payment {tx_ref} is {status}")

    def state(self, order_id: str) -> tuple[str, list[str]]:
        """The statuses of the order and of its payments."""
        order = self.order(order_id)
        return order["status"], [payment["status"] for payment in order["payments"]]

    @contextmanager
    def nothing_written(self) -> Iterator[None]:
        until(
            lambda: [e for e in self.calls("webhook") if not (e.status or e.error or e.faults)],
            lambda sending: not sending,
            "Chapa sends nothing more",
        )
        self.await_worker()
        before = self.dump()
        yield
        self.await_worker()
        after = self.dump()
        changed = [item for item in (*before, *after) if (item in before) != (item in after)]
        assert changed == []

    @contextmanager
    def reconfigured(self, function: str, **configuration: Any) -> Iterator[None]:
        """A function with another configuration; its processes start anew."""
        name = self.stack["functions"][function]
        before = self._lambda.get_function_configuration(FunctionName=name)
        self._lambda.update_function_configuration(FunctionName=name, **configuration)
        try:
            yield
        finally:
            self._lambda.update_function_configuration(
                FunctionName=name, **{setting: before[setting] for setting in configuration}
            )

    @contextmanager
    def with_environment(self, function: str, **variables: str) -> Iterator[None]:
        """A function with other values in its environment."""
        known = self._variables(function)
        with self.reconfigured(function, Environment={"Variables": known | variables}):
            yield

    def retry_messages_after(self, seconds: int) -> None:
        """The queue delivers a message that failed again after so many seconds."""
        self._sqs.set_queue_attributes(
            QueueUrl=self.stack["queues"]["reconcile"],
            Attributes={"VisibilityTimeout": str(seconds)},
        )

    def counted(self, metric: str) -> int:
        """The sum of a metric, as CloudWatch reads it from the functions' logs."""
        lines = [line for _, line in self.logs.lines(f'"{metric}":[') if '"_aws"' in line]
        return int(sum(sum(json.loads(line)[metric]) for line in lines))

    def short_lived_token(self) -> str:
        """A token of abebe's that expires after two seconds."""
        cognito = self.aws("cognito-idp")
        [pool] = cognito.list_user_pools(MaxResults=10)["UserPools"]
        [app] = cognito.list_user_pool_clients(UserPoolId=pool["Id"])["UserPoolClients"]
        ids = {"UserPoolId": pool["Id"], "ClientId": app["ClientId"]}
        before = cognito.describe_user_pool_client(**ids)["UserPoolClient"]
        names = ("ExplicitAuthFlows", "AccessTokenValidity", "TokenValidityUnits")
        settings = {name: before[name] for name in names}
        settings["AccessTokenValidity"] = int(before["AccessTokenValidity"])
        short = {"AccessTokenValidity": 2, "TokenValidityUnits": {"AccessToken": "seconds"}}
        login = {"USERNAME": "abebe", "PASSWORD": "Aa1!for-two-seconds"}
        cognito.update_user_pool_client(**ids, **settings | short)
        try:
            cognito.admin_set_user_password(
                UserPoolId=ids["UserPoolId"],
                Username=login["USERNAME"],
                Password=login["PASSWORD"],
                Permanent=True,
            )
            response = cognito.admin_initiate_auth(
                **ids, AuthFlow="ADMIN_USER_PASSWORD_AUTH", AuthParameters=login
            )
        finally:
            cognito.update_user_pool_client(**ids, **settings)
        return str(response["AuthenticationResult"]["AccessToken"])

    def secret(self) -> dict[str, str]:
        response = self.aws("secretsmanager").get_secret_value(**self._secret_id)
        return dict(json.loads(response["SecretString"]))

    def set_secret(self, values: Mapping[str, str]) -> None:
        self.aws("secretsmanager").put_secret_value(
            **self._secret_id, SecretString=json.dumps(dict(values))
        )

    @property
    def _secret_id(self) -> dict[str, str]:
        return {"SecretId": self._variables("webhook")["SECRET_ID"]}

    def violations(self, *, settled: bool) -> list[str]:
        """Broken invariants of the whole table and of all that Chapa took."""
        return violations(
            self.items(), units=self.units, confirmed=self.confirmed(), settled=settled
        )


def body_about(tx_ref: str | None, event: str = "charge.success") -> bytes:
    return json.dumps({"event": event, "tx_ref": tx_ref, "status": "success"}).encode()


def at_once[T](times: int, call: Callable[[int], T]) -> list[T]:
    """Make so many calls; none starts before all threads are ready."""
    barrier = threading.Barrier(times)

    def wait_and_call(number: int) -> T:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(wait_and_call, range(times)))


def is_problem(response: Response) -> bool:
    """Whether it is a problem document in all its parts."""
    return (
        response.headers["content-type"] == "application/problem+json"
        and response["status"] == response.status
        and response["type"] == f"urn:chapa-payments:{response.code}"
        and bool(response["title"])
        and bool(response["detail"])
    )
