"""Who gets in: tokens, other users, and paths that are not routes."""

import base64
import json
from typing import Any

import pytest

from sandbox.client import Response
from tests.contract import operations
from tests.journeys.shop import DeployedShop, base64url, is_problem

TOKEN_ROUTES = [
    route for route, operation in operations().items() if "security" not in operation.described
]


def forged_tokens(shop: DeployedShop) -> dict[str, str | None]:
    genuine = shop.stack["users"]["abebe"]["token"]
    header, claims, signature = genuine.split(".")

    def encoded(part: Any) -> str:
        return base64url(json.dumps(part).encode())

    decoded = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return {
        "missing": None,
        "expired": shop.signed_token(iat=1, exp=2),
        "empty": "",
        "no token": "nonsense",
        "claims of another user": f"{header}.{encoded(decoded | {'sub': 'sara'})}.{signature}",
        "algorithm none": f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{claims}.",
        "no signature": f"{header}.{claims}.",
        "signature of zeros": f"{header}.{claims}.{'A' * len(signature)}",
    }


def ask(
    shop: DeployedShop, route: str, sku: str, order_id: str, tx_ref: str, token: str | None
) -> Response:
    bodies = {
        "POST /orders": {"items": [{"sku": sku, "quantity": 1}]},
        "POST /payments": {"order_id": order_id},
    }
    method, path = route.format(order_id=order_id, tx_ref=tx_ref).split()
    return shop.ask(method, path, bodies.get(route), token=token)


def test_missing_forged_or_expired_token_is_refused_on_every_customer_route(
    shop: DeployedShop, subtests: pytest.Subtests
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    assert len(TOKEN_ROUTES) == 6
    with shop.nothing_written():
        for name, token in forged_tokens(shop).items():
            for route in TOKEN_ROUTES:
                with subtests.test(f"{route}, {name}"):
                    response = ask(shop, route, sku, order_id, tx_ref, token)
                    # The gateway answers, so there is no problem document.
                    assert (response.status, response.body) == (401, {"message": "Unauthorized"})


def test_token_without_a_subject_is_forbidden_on_every_customer_route(
    shop: DeployedShop, subtests: pytest.Subtests
) -> None:
    sku = shop.product()
    order_id, tx_ref = shop.begun(sku)
    token = shop.signed_token(sub=None)
    with shop.nothing_written():
        for route in TOKEN_ROUTES:
            with subtests.test(route):
                response = ask(shop, route, sku, order_id, tx_ref, token)
                assert (response.status, response.code) == (403, "no_subject")
                assert is_problem(response)


def test_order_of_another_user_looks_like_no_order(shop: DeployedShop) -> None:
    order_id, tx_ref = shop.begun(shop.product())

    def refused(response: Response, code: str) -> bool:
        return (response.status, response.code) == (404, code) and is_problem(response)

    with shop.nothing_written():
        foreign = shop.initialize(order_id, user="sara")
        assert refused(foreign, "order_not_found")
        missing = shop.initialize("a" * 12, user="sara")
        assert foreign.body == missing.body | {"order_id": order_id}
        assert refused(shop.order(order_id, user="sara"), "order_not_found")
        for cancelled in (
            shop.cancel(order_id, user="sara"),
            shop.cancel("a" * 12),
            shop.cancel("nonsense"),
        ):
            assert refused(cancelled, "order_not_found")
        for refresh in (False, True):
            seen = shop.payment(tx_ref, user="sara", refresh=refresh)
            assert refused(seen, "payment_not_found")
    assert shop.calls("verify", tx_ref) == []


def test_function_can_do_nothing_without_its_policies(shop: DeployedShop) -> None:
    """So the other journeys show that the template's permissions are enough."""
    iam = shop.aws("iam")
    configured = shop.aws("lambda").get_function_configuration(
        FunctionName=shop.stack["functions"]["orders"]
    )
    role = {"RoleName": configured["Role"].rpartition("/")[2]}
    inline = [
        iam.get_role_policy(**role, PolicyName=name)
        for name in iam.list_role_policies(**role)["PolicyNames"]
    ]
    attached = iam.list_attached_role_policies(**role)["AttachedPolicies"]
    sku = shop.product()
    try:
        for policy in inline:
            iam.delete_role_policy(**role, PolicyName=policy["PolicyName"])
        for policy in attached:
            iam.detach_role_policy(**role, PolicyArn=policy["PolicyArn"])
        with shop.nothing_written():
            assert shop.place({sku: 1}).code == "unavailable"
    finally:
        for policy in inline:
            document = json.dumps(policy["PolicyDocument"])
            iam.put_role_policy(**role, PolicyName=policy["PolicyName"], PolicyDocument=document)
        for policy in attached:
            iam.attach_role_policy(**role, PolicyArn=policy["PolicyArn"])
    assert shop.place({sku: 1}).status == 201
