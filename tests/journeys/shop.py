"""The deployed shop as the journeys use it: a client that also makes products, and time pass."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

from operators.invariants import violations
from sandbox.client import Client, Response, until

CUSTOMER = {
    "first_name": "Birtukan",
    "last_name": "Woldegiorgis",
    "email": "birtukan.w@shopper.et",
    "phone_number": "0911928374",
}
"""Of every order, and found in no log line."""

PRICE = 45_050


class Shop(Client):
    _numbers = count(1)

    def product(self, units: int = 10, sku: str | None = None) -> str:
        """A product that no other test sells; its SKU."""
        sku = sku or f"product-{next(self._numbers)}"
        self.sell(sku, units, PRICE)
        return sku

    def ordered(self, sku: str, quantity: int = 2, *, user: str = "abebe") -> str:
        answer = self.place({sku: quantity}, user=user, customer=CUSTOMER)
        assert answer.status == 201, answer
        return str(answer["order_id"])

    def begun(self, sku: str, quantity: int = 2) -> tuple[str, str]:
        """An order whose payment waits on Chapa's page: its id and tx_ref."""
        order_id = self.ordered(sku, quantity)
        answer = self.initialize(order_id)
        assert answer.status == 201, answer
        return order_id, str(answer["tx_ref"])

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

    def make_due(self, order_id: str, *, expires: bool = False) -> None:
        """As if it had been placed so long ago that its next look, or its end, is now.

        And as if Chapa had last been asked so long ago that it may be asked again.
        """
        now = int(time.time())
        self._let_chapa_be_asked(order_id)
        self.rewrite(order_id, due_at=now, **({"expires_at": now} if expires else {}))

    def rewrite(self, order_id: str, **numbers: int) -> None:
        """Times of an order that is due some time."""
        self._table.update_item(
            TableName=self.stack["table_name"],
            Key={"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": "ORDER"}},
            UpdateExpression=f"SET {', '.join(f'{n} = :{n}' for n in numbers)} ADD version :one",
            ConditionExpression="attribute_exists(due_at)",
            ExpressionAttributeValues={
                ":one": {"N": "1"},
                **{f":{name}": {"N": str(number)} for name, number in numbers.items()},
            },
        )

    def _let_chapa_be_asked(self, order_id: str) -> None:
        payments = self._table.query(
            TableName=self.stack["table_name"],
            KeyConditionExpression="pk = :order AND begins_with(sk, :payment)",
            ExpressionAttributeValues={
                ":order": {"S": f"ORDER#{order_id}"},
                ":payment": {"S": "PAYMENT#"},
            },
            ConsistentRead=True,
        )
        for payment in payments["Items"]:
            self._table.update_item(
                TableName=self.stack["table_name"],
                Key={"pk": payment["pk"], "sk": payment["sk"]},
                UpdateExpression="REMOVE looked_at",
                ConditionExpression="attribute_exists(pk)",
            )

    def lease(self, tx_ref: str, until_then: int) -> None:
        """As if somebody had taken the payment until then, and died over it."""
        order_id = order_of(tx_ref)
        self._table.update_item(
            TableName=self.stack["table_name"],
            Key={"pk": {"S": f"ORDER#{order_id}"}, "sk": {"S": f"PAYMENT#{tx_ref}"}},
            UpdateExpression="SET lease_until = :then",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeValues={":then": {"N": str(until_then)}},
        )

    def look(self, order_id: str) -> None:
        """The next look at an order, now; none when nothing is left to be done."""
        with suppress(self._table.exceptions.ConditionalCheckFailedException):
            self.make_due(order_id)
        self.sweep()
        self.await_worker()

    def look_until[T](
        self, order_id: str, see: Callable[[], T], good: Callable[[T], bool], what: str
    ) -> T:
        """As many looks at an order as it takes."""

        def look_and_see() -> T:
            self.look(order_id)
            return see()

        return until(look_and_see, good, what)

    def await_payment(self, tx_ref: str, status: str) -> None:
        self.look_until(
            order_of(tx_ref),
            lambda: self.payment(tx_ref)["status"],
            lambda seen: bool(seen == status),
            f"payment {tx_ref} is {status}",
        )

    def state(self, order_id: str) -> tuple[str, list[str]]:
        """The statuses of the order and of its payments."""
        order = self.order(order_id)
        return order["status"], [payment["status"] for payment in order["payments"]]

    @contextmanager
    def nothing_written(self) -> Iterator[None]:
        self.await_worker()
        self._look_at_what_is_due_soon()
        before = self.dump()
        yield
        assert self.dump() == before

    def _look_at_what_is_due_soon(self) -> None:
        """What other tests left behind, and the schedule would find in the midst of this one."""
        soon = int(time.time()) + 60
        for item in self.dump():
            if item["sk"] == "ORDER" and item.get("due_at", soon) < soon:
                self.look(str(item["order_id"]))

    @contextmanager
    def reconfigured(self, function: str, **configuration: Any) -> Iterator[None]:
        """A function with another configuration, and with processes that start anew."""
        name = self.stack["functions"][function]
        was = self._lambda.get_function_configuration(FunctionName=name)
        self._lambda.update_function_configuration(FunctionName=name, **configuration)
        try:
            yield
        finally:
            self._lambda.update_function_configuration(
                FunctionName=name, **{setting: was[setting] for setting in configuration}
            )

    @contextmanager
    def told(self, function: str, **variables: str) -> Iterator[None]:
        """A function with other values in its environment."""
        known = self._variables(function)
        with self.reconfigured(function, Environment={"Variables": known | variables}):
            yield

    def counted(self, metric: str) -> int:
        """What the functions have counted under this name, as CloudWatch would read their logs."""
        found = 0
        for _, line in self.logged(metric):
            with suppress(ValueError):
                told = json.loads(line)
                found += int(sum(told[metric])) if "_aws" in told and metric in told else 0
        return found

    def brief_token(self) -> str:
        """A token of abebe's, as the user pool issues them, but good for two seconds only."""
        cognito = self.aws("cognito-idp")
        [pool] = cognito.list_user_pools(MaxResults=10)["UserPools"]
        [app] = cognito.list_user_pool_clients(UserPoolId=pool["Id"])["UserPoolClients"]
        names = {"UserPoolId": pool["Id"], "ClientId": app["ClientId"]}
        was = cognito.describe_user_pool_client(**names)["UserPoolClient"]
        kept = {
            "ExplicitAuthFlows": was["ExplicitAuthFlows"],
            "AccessTokenValidity": int(was["AccessTokenValidity"]),
            "TokenValidityUnits": was["TokenValidityUnits"],
        }
        brief = {"AccessTokenValidity": 2, "TokenValidityUnits": {"AccessToken": "seconds"}}
        cognito.update_user_pool_client(**names, **kept | brief)
        password = "Aa1!for-two-seconds"
        try:
            cognito.admin_set_user_password(
                UserPoolId=pool["Id"], Username="abebe", Password=password, Permanent=True
            )
            answer = cognito.admin_initiate_auth(
                **names,
                AuthFlow="ADMIN_USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": "abebe", "PASSWORD": password},
            )
        finally:
            cognito.update_user_pool_client(**names, **kept)
        return str(answer["AuthenticationResult"]["AccessToken"])

    def secret(self) -> dict[str, str]:
        answer = self.aws("secretsmanager").get_secret_value(**self._secret)
        return dict(json.loads(answer["SecretString"]))

    def set_secret(self, values: Mapping[str, str]) -> None:
        self.aws("secretsmanager").put_secret_value(
            **self._secret, SecretString=json.dumps(dict(values))
        )

    @property
    def _secret(self) -> dict[str, str]:
        return {"SecretId": self._variables("webhook")["SECRET_ID"]}

    def broken(self, *, settled: bool) -> list[str]:
        """What the one checker of promises says of the whole table, and of all that Chapa took."""
        return violations(
            self.items(), units=self.units, confirmed=self.confirmed(), settled=settled
        )


def order_of(tx_ref: str) -> str:
    return tx_ref.partition("-")[0]


def body_about(tx_ref: str | None, event: str = "charge.success") -> bytes:
    return json.dumps({"event": event, "tx_ref": tx_ref, "status": "success"}).encode()


def at_once[T](times: int, call: Callable[[int], T]) -> list[T]:
    """So many calls, none before all are ready."""
    barrier = threading.Barrier(times)

    def wait_and_call(number: int) -> T:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(wait_and_call, range(times)))


def is_problem(answer: Response) -> bool:
    """Whether it is a problem document in all its parts."""
    return (
        answer.headers["content-type"] == "application/problem+json"
        and answer["status"] == answer.status
        and answer["type"] == f"urn:chapa-payments:{answer.code}"
        and bool(answer["title"])
        and bool(answer["detail"])
    )
