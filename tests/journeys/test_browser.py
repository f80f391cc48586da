"""What a page of another origin can do, and how its customers sign in."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from sandbox.stack import STACK_NAME
from tests.contract import operations
from tests.journeys.conftest import PARAMS
from tests.journeys.shop import DeployedShop

ORIGIN, _ = PARAMS["AllowedOrigins"].split(",")
FOREIGN = "https://elsewhere.example"


def send(shop: DeployedShop, method: str, path: str, **headers: str) -> requests.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with requests.Session() as session:
        session.trust_env = False
        url = f"{shop.stack['api_url']}{path}"
        return session.request(method, url, headers=sent, timeout=60)


def preflight(shop: DeployedShop, route: str, origin: str) -> requests.Response:
    method, path = route.split()
    return send(
        shop,
        "OPTIONS",
        path,
        Origin=origin,
        Access_Control_Request_Method=method,
        Access_Control_Request_Headers="authorization,content-type,idempotency-key",
    )


def test_page_of_an_allowed_origin_may_call_every_route(shop: DeployedShop) -> None:
    for route in operations():
        answer = preflight(shop, route, ORIGIN)
        assert answer.status_code == 204
        allowed = {
            name.lower().removeprefix("access-control-"): set(value.lower().split(","))
            for name, value in answer.headers.items()
        }
        assert allowed["allow-origin"] == {ORIGIN}
        assert route.split()[0].lower() in allowed["allow-methods"]
        assert allowed["allow-headers"] == {"authorization", "content-type", "idempotency-key"}
        assert allowed["max-age"] == {"7200"}


def test_page_of_an_allowed_origin_can_read_answers_and_retry_after(shop: DeployedShop) -> None:
    token = shop.stack["users"]["abebe"]["token"]
    path = f"/orders/{'a' * 12}"
    answer = send(shop, "GET", path, Origin=ORIGIN, Authorization=f"Bearer {token}")
    assert answer.json()["code"] == "order_not_found"
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-expose-headers"] == "retry-after"


def test_page_of_another_origin_is_allowed_nothing(shop: DeployedShop) -> None:
    assert "access-control-allow-origin" not in preflight(shop, "POST /orders", FOREIGN).headers
    answer = send(shop, "GET", "/webhooks/chapa", Origin=FOREIGN)
    assert answer.status_code == 202
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js runs the example")
def test_customer_signs_in_orders_and_pays_on_the_example_page(shop: DeployedShop) -> None:
    sku = shop.product()
    cognito, [stack] = (
        shop.aws("cognito-idp"),
        shop.aws("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"],
    )
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    user = {"UserPoolId": outputs["UserPoolId"], "Username": "+251911223344"}
    cognito.admin_create_user(**user, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(**user, Password="Selam-2026-Abeba", Permanent=True)
    # MiniStack serves the sign-in pages itself, whatever the issuer's address is on AWS.
    issuer = f"{shop.stack['endpoint_url']}/{outputs['Issuer'].rpartition('/')[2]}"
    settings = {
        "API_URL": shop.stack["api_url"],
        "ISSUER": issuer,
        "CLIENT_ID": outputs["UserPoolClientId"],
        "REDIRECT_URI": PARAMS["LoginCallbackUrls"],
        "USERNAME": user["Username"],
        "PASSWORD": "Selam-2026-Abeba",
        "CHAPA": shop.stack["chapa_url"].rpartition("/")[0],
        "SKU": sku,
        "PATH": os.environ["PATH"],
    }
    script = Path(__file__).with_name("front_end.mjs")
    ran = subprocess.run(
        ["node", script], env=settings, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert sku in seen.pop("products")
    # Both may be of the same second.
    assert sorted(seen.pop("orders")) == ["cancelled", "paid"]
    assert seen == {
        "signedOut": 401,
        "foreign": "not our sign-in",
        "sameOrder": True,
        "renewed": True,
        "paid": "paid",
        "cancel": "order_paid",
        "cancelled": "cancelled",
        "see": 1,
    }
    assert outputs["LoginUrl"].startswith("https://shop-in-tests.auth.")
