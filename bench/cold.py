"""Cold starts: from the start of the process to the first answer, side by side.

Each round starts every function once, so that what else the machine does falls on all of them; the
ratio is that of the medians. `python -m bench.cold [ROUNDS] [FOLDER]` prints the table.
"""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import cloud, runtime
from bench.cloud import ORDER_ID, TX_REF, USER, WEBHOOK_SECRET
from bench.tables import Goal, markdown, verdict
from payments.aws.items import EventKey, events_item, events_key, serialize
from payments.domain.events import OrderPlaced
from tests.environment import PUBLISHER, SETTINGS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".bench"
PYTHON = os.path.realpath(sys.executable)
RUNTIME = ["boto3", "awslambdaric"]
"""What Lambda brings along."""

PROCESS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_METRICS_NAMESPACE": "Bench",
}


@dataclass(frozen=True)
class Case:
    name: str
    task: Path
    handler: str
    layer: Path
    event: Mapping[str, Any]
    status: int | None = None
    begun: bool = False


def build(folder: Path) -> None:
    """The layer as `sam build` builds it, the baseline with its packages, and the runtime."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    layer, runtime_folder, baseline = (folder / name for name in ("layer", "runtime", "baseline"))
    if not runtime_folder.exists():
        subprocess.run([*pip, "--target", runtime_folder, *RUNTIME], check=True)
    if not baseline.exists():
        needed = ROOT / "bench" / "baseline" / "requirements.txt"
        subprocess.run(
            [*pip, "--no-compile", "--target", baseline, "--requirement", needed], check=True
        )
        shutil.copytree(ROOT / "bench" / "baseline", baseline / "bench" / "baseline")
        _without_byte_code(baseline)
    shutil.rmtree(layer, ignore_errors=True)
    subprocess.run(
        ["make", "--silent", "build-SharedLayer", f"ARTIFACTS_DIR={layer}"],
        cwd=ROOT / "shared",
        check=True,
    )


def _without_byte_code(folder: Path) -> None:
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)


def http_event(method: str, path: str, body: object = None, **more: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "version": "2.0",
        "rawPath": path,
        "headers": {"content-type": "application/json"},
        "requestContext": {
            "requestId": "1",
            "stage": "$default",
            "http": {"method": method, "path": path},
            "authorizer": {"jwt": {"claims": {"sub": USER}}},
        },
        "isBase64Encoded": False,
    }
    return event | ({"body": json.dumps(body)} if body is not None else {}) | more


def webhook_event() -> dict[str, Any]:
    event = http_event("POST", "/webhooks/chapa", {"event": "charge.success", "tx_ref": TX_REF})
    digest = hmac.new(WEBHOOK_SECRET.encode(), event["body"].encode(), hashlib.sha256)
    event["headers"]["x-chapa-signature"] = digest.hexdigest()
    return event


def stream_event() -> dict[str, Any]:
    key = EventKey(ORDER_ID, 1)
    stored = events_item(key, [OrderPlaced(0, 90_000, "ETB")], 0)
    image = events_key(key) | {name: serialize(value) for name, value in stored.items()}
    return {"Records": [{"dynamodb": {"NewImage": image, "SequenceNumber": "1"}}]}


def cases(folder: Path) -> list[Case]:
    layer, baseline = folder / "layer" / "python", folder / "baseline"
    order = {"items": [{"sku": "COFFEE-250", "quantity": 2}]}
    pay = http_event("POST", "/payments", {"order_id": ORDER_ID})
    pay_baseline = http_event("POST", "/payments", {"order_id": "an-order"})
    path = {"order_id": ORDER_ID}
    show = http_event("GET", f"/orders/{ORDER_ID}", pathParameters=path)
    show["routeKey"] = "GET /orders/{order_id}"
    message = {"Records": [{"messageId": "1", "body": json.dumps({"order_id": ORDER_ID})}]}

    def ours(name: str, event: Mapping[str, Any], status: int | None, **more: Any) -> Case:
        return Case(name, ROOT / "functions" / name, "app.handler", layer, event, status, **more)

    def theirs(name: str, event: Mapping[str, Any], **more: Any) -> Case:
        handler = f"bench.baseline.{name}.handler"
        return Case(f"baseline {name}", baseline, handler, baseline, event, 200, **more)

    return [
        Case("floor", ROOT / "bench" / "floor", "app.handler", layer, {}, 200),
        theirs("webhook", webhook_event()),
        ours("webhook", webhook_event(), 200, begun=True),
        theirs("initialize", pay_baseline),
        ours("initialize", pay, 201),
        ours("orders", http_event("POST", "/orders", order), 201),
        ours("status", show, 200, begun=True),
        ours("expire", {}, None),
        ours("reconcile", message, None, begun=True),
        ours("publish", stream_event(), None),
    ]


def environment_of(url: str) -> dict[str, str]:
    """Of a function whose AWS and Chapa are at this address."""
    return {
        **SETTINGS,
        **PUBLISHER,
        **PROCESS,
        "AWS_ENDPOINT_URL": url,
        "CHAPA_URL": f"{url}/v1",
        "CHAPA_URL_OTHER": "",
        "CALLBACK_URL": "https://api.shop.example/webhooks/chapa",
    }


def measure(folder: Path, rounds: int) -> dict[str, list[runtime.Start]]:
    found: dict[str, list[runtime.Start]] = {}
    for _ in range(rounds):
        for case in cases(folder):
            with cloud.running(case.begun) as aws:
                environment = environment_of(aws.url)
                path = [case.layer, folder / "runtime"]
                start = runtime.start(
                    PYTHON, case.task, case.handler, path, environment, case.event
                )
            if case.status is not None and start.answer.get("statusCode") != case.status:
                raise RuntimeError(f"{case.name} answered {start.answer}")
            found.setdefault(case.name, []).append(start)
    return found


CPU_GOALS = {
    "webhook": (0.25, 1.15),
    "initialize": (0.25, 1.15),
    **dict.fromkeys(("orders", "status", "expire", "reconcile", "publish"), (None, 1.2)),
}
"""Goals by function: the most of the baseline's and of the floor's. Read in processor time, which
other work on the machine changes less."""

HEAD = ["Function", "wall ms", "CPU ms", "wall ÷ baseline", "CPU ÷ baseline"]
HEAD += ["wall ÷ floor", "CPU ÷ floor"]


def table(found: Mapping[str, list[runtime.Start]]) -> str:
    wall = {name: median(start.wall_ms for start in starts) for name, starts in found.items()}
    cpu = {name: median(start.cpu_ms for start in starts) for name, starts in found.items()}
    rows, goals = [], []
    for name in found:
        baseline = f"baseline {name}"
        ratios = [
            f"{each[name] / each[baseline]:.2f}" if baseline in each else "" for each in (wall, cpu)
        ]
        floors = [f"{each[name] / each['floor']:.2f}" for each in (wall, cpu)]
        rows.append([name, f"{wall[name]:.0f}", f"{cpu[name]:.0f}", *ratios, *floors])
        of_baseline, of_floor = CPU_GOALS.get(name, (None, None))
        if of_baseline:
            goals.append(Goal(f"{name} ÷ baseline", cpu[name] / cpu[baseline], of_baseline))
        if of_floor:
            goals.append(Goal(f"{name} ÷ floor", cpu[name] / cpu["floor"], of_floor))
    return f"{markdown(HEAD, rows)}\n\n{verdict(goals)}"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    folder = Path(sys.argv[2]).absolute() if len(sys.argv) > 2 else FOLDER
    build(folder)
    print(table(measure(folder, rounds)))


if __name__ == "__main__":
    main()
