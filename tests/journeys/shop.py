"""The deployed shop that the journeys use: a client with builders, and a way to let time pass."""

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
from botocore.loaders import create_loader
from botocore.session import Session
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import operators.__main__ as tool
from operators.invariants import violations
from payments.aws import clients
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

LOADER = create_loader()


class DeployedShop(Client):
    _numbers = count(1)

    def __init__(self, stack: Description, directory: Path) -> None:
        super().__init__(stack)
        self._directory = directory
        self.logs = Logs(self.aws("logs"))
        self.schedule = self._stop_schedules()
        """As it was deployed."""

    def _stop_schedules(self) -> dict[str, Any]:
        """From now on sweeps and comparisons run only where a test calls them.

        Returns the schedule of the sweep.
        """
        scheduler = self.aws("scheduler")
        sweep: dict[str, Any] = {}
        for found in scheduler.list_schedules()["Schedules"]:
            names = {"Name": found["Name"], "GroupName": found["GroupName"]}
            schedule = scheduler.get_schedule(**names)
            kept = ("ScheduleExpression", "FlexibleTimeWindow", "Target")
            scheduler.update_schedule(
                **names, **{name: schedule[name] for name in kept}, State="DISABLED"
            )
            if self.stack["functions"]["expire"] in schedule["Target"]["Arn"]:
                sweep = schedule
        return sweep

    def compare(self) -> None:
        """Compare the books up to now, as the schedule does each night up to midnight."""
        response = self._lambda.invoke(
            FunctionName=self.stack["functions"]["compare"],
            Qualifier="live",
            Payload=json.dumps({"until": int(time.time()) + 60}),
        )
        assert "FunctionError" not in response, response["Payload"].read()

    def operate(self, *arguments: str) -> tuple[int, Any, str]:
        """As the process of its own that `Client` starts, in a quarter of the time.

        One at a time: it uses this process's environment and output.
        """
        with (
            patch.dict(os.environ, self.operator_environment),
            patch.object(boto3, "DEFAULT_SESSION", boto3.Session(botocore_session=session())),
            patch.object(clients, "_session", session()),
            redirect_stdout(StringIO()) as output,
            redirect_stderr(StringIO()) as error,
        ):
            code = tool.main([*arguments, "--json", "--yes"])
        return code, json.loads(output.getvalue() or "{}"), error.getvalue()

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
            self.check(tx_ref[:12])
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
        before = until(
            self.dump,
            lambda items: not [i for i in items if str(i.get("due_shard")).startswith("EVENTS")],
            "all events are published",
        )
        yield
        self.await_worker()
        after = self.dump()
        changed = [item for item in (*before, *after) if (item in before) != (item in after)]
        assert not changed, changed

    @contextmanager
    def reconfigured(self, function: str, **configuration: Any) -> Iterator[None]:
        """A function with another configuration; its processes start anew."""
        name = self.stack["functions"][function]
        before = self._lambda.get_function_configuration(FunctionName=name)
        self._publish(name, **configuration)
        try:
            yield
        finally:
            self._publish(name, **{setting: before[setting] for setting in configuration})

    def _publish(self, name: str, **configuration: Any) -> None:
        """A version of a function with this configuration, to which all requests go."""
        self._lambda.update_function_configuration(FunctionName=name, **configuration)
        version = self._lambda.publish_version(FunctionName=name)["Version"]
        self._lambda.update_alias(FunctionName=name, Name="live", FunctionVersion=version)

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

    def signed_token(self, **changes: Any) -> str:
        """Abebe's token with changed claims, signed with the user pool's own key.

        None removes a claim.
        """
        header, claims, _ = self.stack["users"]["abebe"]["token"].split(".")
        changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | changes
        kept = {name: value for name, value in changed.items() if value is not None}
        signed = f"{header}.{base64url(json.dumps(kept).encode())}"
        [path] = (self._directory / "tmp/state/cognito-pool-keys").glob("*-access.pem")
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        return f"{signed}.{base64url(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"

    def secret(self) -> dict[str, str]:
        response = self.aws("secretsmanager").get_secret_value(**self._secret_id)
        return dict(json.loads(response["SecretString"]))

    def set_secret(self, values: Mapping[str, str]) -> None:
        self.aws("secretsmanager").put_secret_value(
            **self._secret_id, SecretString=json.dumps(dict(values))
        )

    @contextmanager
    def changed_over(self) -> Iterator[None]:
        """The two keys have changed places: the other version of Chapa's API opens payments."""
        before = self.secret()
        keys = {"api_key": before["api_key_other"], "api_key_other": before["api_key"]}
        self.set_secret(before | keys)
        # Processes that start now read the secret now; others within a minute.
        with (
            self.reconfigured("initialize", MemorySize=513),
            self.reconfigured("webhook", MemorySize=513),
        ):
            try:
                yield
            finally:
                self.set_secret(before)

    @contextmanager
    def secret_deleted(self) -> Iterator[None]:
        secrets = self.aws("secretsmanager")
        secrets.delete_secret(**self._secret_id)
        try:
            yield
        finally:
            secrets.restore_secret(**self._secret_id)

    @property
    def _secret_id(self) -> dict[str, str]:
        return {"SecretId": self._variables("webhook")["SECRET_ID"]}

    def violations(self, *, settled: bool) -> list[str]:
        """Broken invariants of the whole table and of all that Chapa took."""
        return violations(
            self.items(), units=self.units, confirmed=self.confirmed(), settled=settled
        )


def session() -> Session:
    """Asks the environment for credentials anew, and does not read the services' models again."""
    new = Session()
    new.register_component("data_loader", LOADER)
    return new


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


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
