"""The launcher of the local stack: what it starts, what it refuses, what it leaves behind."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from sandbox import stack as launcher
from sandbox.client import until
from sandbox.listener import Listener
from sandbox.seed import seed
from sandbox.stack import FUNCTIONS, HOST, ROOT, Process, Stack, StackError
from tests.shop import create_table


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own that has started another one."""
    with subprocess.Popen(
        ["/bin/sh", "-c", "sleep 60 & sleep 60"], start_new_session=True
    ) as started:
        while len(members(started.pid)) < 3:
            time.sleep(0.01)
        yield started
        for pid in members(started.pid):
            os.kill(pid, 9)


def members(session: int) -> list[int]:
    return [pid for pid in launcher._pids() if launcher._session(pid) == session]


def known(program: subprocess.Popen[bytes]) -> Process:
    return Process("sleeper", program.pid, launcher._started_at(program.pid), launcher._boot_id())


def test_a_program_is_stopped_with_all_that_it_started(program: subprocess.Popen[bytes]) -> None:
    assert known(program).end()
    assert members(program.pid) == []


def test_what_a_dead_program_left_behind_is_stopped(program: subprocess.Popen[bytes]) -> None:
    process = known(program)
    program.kill()
    program.wait()
    assert process.running
    assert process.end()
    assert members(program.pid) == []


def test_a_program_that_was_given_the_same_id_is_let_be(program: subprocess.Popen[bytes]) -> None:
    earlier = Process("sleeper", program.pid, "1", launcher._boot_id())
    before_the_reboot = Process("sleeper", program.pid, known(program).started_at, "another boot")
    for process in (earlier, before_the_reboot):
        assert not process.running
        assert not process.end()
    assert program.poll() is None


def test_a_stack_that_runs_already_is_named(
    program: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (tmp_path / "processes.json").write_text(json.dumps([known(program).as_json()]))
    with pytest.raises(StackError, match=rf"sleeper \(process {program.pid}\).*make down"):
        Stack(tmp_path).start()
    assert program.poll() is None
    assert Stack(tmp_path).stop() == ["sleeper"]


def test_a_port_in_use_is_named_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"Port {port} "):
            Stack(tmp_path, port=port).start()
        # The simulator's port is asked for when MiniStack has been started.
        with pytest.raises(StackError, match=rf"Port {port} \(PORT \+ 1\)"):
            Stack(tmp_path, port=port - 1).start()
    assert not (tmp_path / "processes.json").exists()


def test_a_parameter_that_the_template_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no parameter LeaseMinutes"):
        Stack(tmp_path, params={"LeaseMinutes": "1", "LeaseSeconds": "2"}).start()


def test_stopping_what_does_not_run_is_no_error(tmp_path: Path) -> None:
    assert Stack(tmp_path / "never").stop() == []
    assert Stack(tmp_path).stop() == []


def test_a_second_command_on_the_same_stack_does_not_wait(tmp_path: Path) -> None:
    with (
        launcher._locked(tmp_path / "lock", wait=True),
        pytest.raises(StackError, match="Another command"),
    ):
        Stack(tmp_path).start()


def test_parameters_are_read_as_a_shell_would() -> None:
    read = launcher._assignments("""ShopName="My Shop" ReturnUrl= LookAfterSeconds=1,2""")
    assert read == {"ShopName": "My Shop", "ReturnUrl": "", "LookAfterSeconds": "1,2"}


@pytest.mark.parametrize("text", ["ShopName", "=x", 'ShopName="', "Shop-Name=x"])
def test_parameters_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(StackError, match="PARAMS must be"):
        launcher._assignments(text)


def test_seeding_again_changes_prices_and_never_stock(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.json"

    def write(price: str, units: int) -> None:
        product = {"sku": "mug", "name": "Mug", "currency": "ETB"}
        catalogue.write_text(json.dumps([product | {"unit_price": price, "available": units}]))

    with mock_aws():
        client = boto3.client("dynamodb")
        create_table(client, "shop")
        write("150.50", 10)
        assert seed(client, "shop", catalogue) == 1
        key = {"pk": {"S": "STOCK#mug"}, "sk": {"S": "STOCK"}}
        client.update_item(
            TableName="shop",
            Key=key,
            UpdateExpression="ADD available :less, committed :more",
            ExpressionAttributeValues={":less": {"N": "-3"}, ":more": {"N": "3"}},
        )
        write("160", 99)
        seed(client, "shop", catalogue)
        item = client.get_item(TableName="shop", Key=key)["Item"]
    assert item["unit_price"] == {"N": "16000"}
    assert [item[n] for n in ("available", "reserved", "committed")] == [
        {"N": "7"},
        {"N": "0"},
        {"N": "3"},
    ]


@pytest.mark.parametrize(
    "change", [{"unit_price": "1.005"}, {"currency": "EUR"}, {"available": -1}]
)
def test_a_product_that_is_not_right_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.json"
    right = {"sku": "mug", "name": "Mug", "unit_price": "1", "currency": "ETB", "available": 1}
    catalogue.write_text(json.dumps([right | change]))
    with mock_aws(), pytest.raises(ValueError, match="mug"):
        seed(boto3.client("dynamodb"), "shop", catalogue)


@pytest.fixture
def path_without_python(tmp_path: Path) -> Path:
    """Programs that the set-up script uses, and a python3.13 that fails, as a shim does."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("bash", "env", "dirname", "sed", "cat", "ls"):
        found = shutil.which(name)
        assert found
        (directory / name).symlink_to(found)
    shim = directory / "python3.13"
    shim.write_text("#!/bin/sh\necho 'not installed' >&2\nexit 127\n")
    shim.chmod(0o755)
    return directory


def set_up(path: Path, directory: Path, requirements: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "sandbox" / "venv.sh"), str(directory), str(requirements)],
        env={"PATH": str(path), "VIRTUAL_ENV": "/nowhere", "PYTHONPATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_python_is_said_in_one_sentence(
    path_without_python: Path, tmp_path: Path
) -> None:
    done = set_up(path_without_python, tmp_path / "venv", tmp_path / "requirements.txt")
    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.13 ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "venv").exists()


def test_python_is_found_through_uv_and_an_environment_is_made_once(
    path_without_python: Path, tmp_path: Path
) -> None:
    for name in ("mkdir", "rm", "flock"):
        if found := shutil.which(name):
            (path_without_python / name).symlink_to(found)
    uv = path_without_python / "uv"
    uv.write_text(f"#!/bin/sh\n[ \"$*\" = 'python find --system 3.13' ] && echo {sys.executable}\n")
    uv.chmod(0o755)
    venv, requirements = tmp_path / "venv", tmp_path / "requirements.txt"
    requirements.write_text("# nothing\n")
    first = set_up(path_without_python, venv, requirements)
    assert (first.returncode, first.stdout) == (0, "")
    assert "Setting up" in first.stderr
    again = set_up(path_without_python, venv, requirements)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    # Interrupted before its end: there is a python, but not what it was made of.
    (venv / ".made-of").unlink()
    assert "Setting up" in set_up(path_without_python, venv, requirements).stderr


def test_a_stack_comes_up_whole_and_leaves_nothing(tmp_path: Path) -> None:
    stack = Stack(tmp_path, params={"LeaseSeconds": "7"})
    with stack as described:
        assert json.loads((tmp_path / "stack.json").read_text()) == described
        assert described["functions"].keys() == set(FUNCTIONS)
        assert described["users"].keys() == {"abebe", "sara"}
        started = json.loads((tmp_path / "processes.json").read_text())

        request = urllib.request.Request(described["api_url"] + "/orders", method="POST")  # noqa: S310
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)  # noqa: S310
        refused.value.close()
        assert refused.value.code == 401

        configured = stack.client("lambda").get_function_configuration(
            FunctionName=described["functions"]["initialize"]
        )
        variables = configured["Environment"]["Variables"]
        assert variables["LEASE_SECONDS"] == "7"
        assert variables["CALLBACK_URL"] == described["webhook_url"]
        assert variables["CHAPA_URL"] == described["chapa_url"]

        secret = stack.client("secretsmanager").get_secret_value(SecretId=variables["SECRET_ID"])
        redeploy(stack, "LeaseSeconds", "8")
        configured = stack.client("lambda").get_function_configuration(
            FunctionName=described["functions"]["initialize"]
        )
        assert configured["Environment"]["Variables"]["LEASE_SECONDS"] == "8"
        kept = stack.client("secretsmanager").get_secret_value(SecretId=variables["SECRET_ID"])
        assert kept["SecretString"] == secret["SecretString"]
        assert json.loads(kept["SecretString"])["webhook_secret"] == described["webhook_secret"]

    assert len(started) == 2
    assert not any(Process(**process).running for process in started)
    assert not (tmp_path / "stack.json").exists()
    assert not (tmp_path / "tmp").exists()


def test_functions_need_no_more_than_the_template_allows_them(tmp_path: Path) -> None:
    stack = Stack(tmp_path, enforce_permissions=True, params={"RepublishAfterSeconds": "1"})
    with stack as described:
        token = described["users"]["abebe"]["token"]
        order = post(
            f"{described['api_url']}/orders", token, {"items": [{"sku": "jebena", "quantity": 1}]}
        )
        payment = post(f"{described['api_url']}/payments", token, {"order_id": order["order_id"]})
        assert payment["status"] == "pending"
        listener = Listener(described)
        told = until(listener.listen, bool, "another service hears of the order")
        assert told[0]["detail"]["order_id"] == order["order_id"]
        workers = stack.workers()
        assert {"checkout", "initialize", "publish"} <= set(workers.values())
        [ours] = [process for process in stack._processes() if process.name == "ministack"]
        assert set(workers) <= set(members(ours.pid)) - {ours.pid}

        # What nobody publishes is soon overdue, so that the sweep writes too.
        functions = stack.client("lambda")
        [source] = functions.list_event_source_mappings(
            FunctionName=described["functions"]["publish"]
        )["EventSourceMappings"]
        functions.update_event_source_mapping(UUID=source["UUID"], Enabled=False)
        post(f"{described['api_url']}/orders", token, {"items": [{"sku": "jebena", "quantity": 1}]})

        def sweep() -> Any:
            swept = functions.invoke(FunctionName=described["functions"]["expire"])
            with swept["Payload"] as payload:
                answer = json.load(payload)
            assert "FunctionError" not in swept, answer
            return answer["events"]

        until(sweep, bool, "the sweep has touched an event")

        # And it is these policies that let them.
        iam, function = stack.client("iam"), described["functions"]["checkout"]
        configured = stack.client("lambda").get_function_configuration(FunctionName=function)
        role = configured["Role"].rpartition("/")[2]
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            iam.delete_role_policy(RoleName=role, PolicyName=policy)
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(
                f"{described['api_url']}/orders",
                token,
                {"items": [{"sku": "jebena", "quantity": 1}]},
            )
        refused.value.close()
        assert refused.value.code >= 500


def post(url: str, token: str, body: object) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    return answer


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
