"""The launcher of the local stack: what it starts, what it refuses, what it leaves behind."""

import json
import socket
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from sandbox import stack as launcher
from sandbox.stack import FUNCTIONS, HOST, Stack, StackError, _port

ORDER = {"items": [{"sku": "jebena", "quantity": 1}]}


def leave_description(directory: Path, port: int) -> None:
    """What a stack that was not stopped leaves behind."""
    programs = {"ministack": f"http://{HOST}:{port}"}
    (directory / "stack.json").write_text(json.dumps({"programs": programs}))


def test_free_port_is_held_until_all_are_chosen() -> None:
    with ExitStack() as probes, socket.socket() as other:
        port = _port(probes, 0, "PORT")
        with pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))


def test_running_stack_is_not_started_again(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as program:
        leave_description(tmp_path, program.getsockname()[1])
        with pytest.raises(StackError, match=r"running already.*make down"):
            Stack(tmp_path).start()


def test_dead_program_is_named_by_start_and_stop(tmp_path: Path) -> None:
    said: list[str] = []
    # The port of `dead` answers nobody, and no other program can take it meanwhile.
    with socket.socket() as dead, socket.create_server((HOST, 0)) as taken:
        dead.bind((HOST, 0))
        leave_description(tmp_path, dead.getsockname()[1])
        assert Stack(tmp_path, say=said.append).stop() == []
        assert not (tmp_path / "stack.json").exists()
        leave_description(tmp_path, dead.getsockname()[1])
        with pytest.raises(StackError, match="Port"):
            Stack(tmp_path, port=taken.getsockname()[1], say=said.append).start()
    assert said == [
        "ministack had ended already.",
        "ministack had ended; starting everything again.",
    ]


def taken_after_a_free_port() -> socket.socket:
    """A socket on a port of which the one before is free.

    Both are below those that Linux gives out, so no other program takes the free one by chance.
    """
    for port in range(20_001, 32_000):
        with suppress(OSError), socket.create_server((HOST, port - 1)):
            return socket.create_server((HOST, port))
    raise AssertionError("no two ports are free")


def test_port_in_use_is_named_and_nothing_is_left_running(tmp_path: Path) -> None:
    with taken_after_a_free_port() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"Port {port} "):
            Stack(tmp_path, port=port).start()
        # MiniStack has been started when the simulator's port is tried.
        stack = Stack(tmp_path, port=port - 1)
        with pytest.raises(StackError, match=rf"Port {port} \(PORT \+ 1\)"):
            stack.start()
    assert stack._ministack.processes() == []
    assert not (tmp_path / "tmp").exists()


def test_parameter_that_the_template_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no parameter LeaseMinutes"):
        Stack(tmp_path, params={"LeaseMinutes": "1", "LeaseSeconds": "2"}).start()


def test_stopping_a_stack_that_does_not_run_is_no_error(tmp_path: Path) -> None:
    assert Stack(tmp_path / "never").stop() == []
    assert Stack(tmp_path).stop() == []


def test_second_command_on_the_same_stack_fails_at_once(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"), pytest.raises(StackError, match="Another command"):
        Stack(tmp_path).start()


def test_parameters_are_read_as_a_shell_would() -> None:
    read = launcher._assignments("""ShopName="My Shop" ReturnUrl= CheckAfterSeconds=1,2""")
    assert read == {"ShopName": "My Shop", "ReturnUrl": "", "CheckAfterSeconds": "1,2"}


@pytest.mark.parametrize("text", ["ShopName", "=x", 'ShopName="', "Shop-Name=x"])
def test_malformed_parameters_are_refused(text: str) -> None:
    with pytest.raises(StackError, match="PARAMS must be"):
        launcher._assignments(text)


@pytest.mark.parametrize(
    ("provider", "chapa_url", "version"),
    [
        ("", "", "v1"),
        ("v2", "", "v2"),
        ("", "http://127.0.0.1:9/v2", "v2"),
        ("v1", "http://127.0.0.1:9/v1", "v1"),
    ],
)
def test_provider_or_the_url_decides_the_version(
    provider: str, chapa_url: str, version: str
) -> None:
    assert launcher.version_of(provider, chapa_url) == version


@pytest.mark.parametrize(
    ("provider", "chapa_url", "error"),
    [
        ("v3", "", "PROVIDER must be v1 or v2, and 'v3' is not"),
        ("v1", "http://127.0.0.1:9/v2", "PROVIDER is v1, but CHAPA_URL ends in /v2"),
        ("v2", "http://127.0.0.1:9/v1/", "PROVIDER is v2, but CHAPA_URL ends in /v1"),
        ("", "http://127.0.0.1:9", "CHAPA_URL must end in /v1 or /v2"),
    ],
)
def test_unknown_or_contradicting_version_is_refused_before_anything_starts(
    tmp_path: Path, provider: str, chapa_url: str, error: str
) -> None:
    with pytest.raises(StackError, match=error):
        Stack(tmp_path, provider=provider, chapa_url=chapa_url).start()


def test_stack_comes_up_whole_keeps_its_data_and_leaves_no_program(tmp_path: Path) -> None:
    stack = Stack(tmp_path, params={"LeaseSeconds": "7"})
    try:
        described = stack.keep()
        assert json.loads((tmp_path / "stack.json").read_text()) == described
        assert described["functions"].keys() == set(FUNCTIONS)
        assert described["users"].keys() == {"abebe", "sara"}
        assert described["programs"].keys() == {"ministack", "chapa"}
        api = stack.client("apigatewayv2").get_api(ApiId=launcher.API_ID)
        assert "CorsConfiguration" not in api

        request = urllib.request.Request(described["api_url"] + "/orders", method="POST")  # noqa: S310
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)  # noqa: S310
        refused.value.close()
        assert refused.value.code == 401

        variables = configuration(stack, "initialize")["Environment"]["Variables"]
        assert variables["LEASE_SECONDS"] == "7"
        assert variables["CALLBACK_URL"] == described["webhook_url"]
        assert variables["CHAPA_URL"] == described["chapa_url"]
        assert variables["CHAPA_URL_OTHER"] == f"{described['programs']['chapa']}/v2"

        # An update of the stack changes a setting and leaves the secret alone.
        secret = stack.client("secretsmanager").get_secret_value(SecretId=variables["SECRET_ID"])
        redeploy(stack, "LeaseSeconds", "8")
        variables = configuration(stack, "initialize")["Environment"]["Variables"]
        assert variables["LEASE_SECONDS"] == "8"
        kept = stack.client("secretsmanager").get_secret_value(SecretId=variables["SECRET_ID"])
        assert kept["SecretString"] == secret["SecretString"]
        held = json.loads(kept["SecretString"])
        assert held["webhook_secret"] == described["webhook_secret"]
        assert held["api_key"].startswith("CHASECK_TEST-")
        assert held["api_key_other"].startswith("CHAPA_TEST_")

        order = post(described["api_url"] + "/orders", described["users"]["sara"]["token"], ORDER)
        # Stopped by another process, and started again.
        assert Stack(tmp_path).stop() == ["ministack", "chapa"]
        again = stack.keep()
        assert again["users"]["sara"]["sub"] == described["users"]["sara"]["sub"]
        variables = configuration(stack, "initialize")["Environment"]["Variables"]
        assert variables["LEASE_SECONDS"] == "7"
        url = f"{again['api_url']}/orders/{order['order_id']}"
        assert send(url, again["users"]["sara"]["token"])["status"] == "pending"
    finally:
        stack.stop()
    assert stack._ministack.processes() + stack._chapa.processes() == []
    assert not (tmp_path / "stack.json").exists()
    assert not (tmp_path / "tmp").exists()


def configuration(stack: Stack, function: str) -> dict[str, Any]:
    assert stack.description
    name = stack.description["functions"][function]
    configured: dict[str, Any] = stack.client("lambda").get_function_configuration(
        FunctionName=name, Qualifier="live"
    )
    return configured


def send(url: str, token: str, body: bytes | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310
    with urllib.request.urlopen(request) as response:  # noqa: S310
        received: dict[str, Any] = json.load(response)
    return received


def post(url: str, token: str, body: object) -> dict[str, Any]:
    return send(url, token, json.dumps(body).encode())


def redeploy(stack: Stack, parameter: str, value: str) -> None:
    """What `sam deploy` does to a stack that exists, with one parameter changed."""
    client = stack.client("cloudformation")
    (old,) = client.describe_stacks(StackName=launcher.STACK_NAME)["Stacks"]
    client.update_stack(
        StackName=launcher.STACK_NAME,
        UsePreviousTemplate=True,
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": p["ParameterKey"], "ParameterValue": value}
            if p["ParameterKey"] == parameter
            else {"ParameterKey": p["ParameterKey"], "UsePreviousValue": True}
            for p in old["Parameters"]
        ],
    )
    client.get_waiter("stack_update_complete").wait(
        StackName=launcher.STACK_NAME, WaiterConfig={"Delay": 0.2, "MaxAttempts": 50}
    )
