"""What a page of another origin can do, and how its customers sign in."""

import requests

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
