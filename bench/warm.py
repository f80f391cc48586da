"""Warm calls: processor time of one invocation in a process that has answered some before.

Ours and the baseline get the same events and the same answers (`bench/cloud.py`), in turn.
`python -m bench.warm [TIMES]` prints the table.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median_low
from typing import Any, NamedTuple

from bench import cloud, runtime
from bench.cloud import TX_REF
from bench.cold import FOLDER, PYTHON, ROOT, Case, build, cases, environment_of, http_event
from bench.tables import Goal, markdown, verdict

ROUNDS = 3
BEFORE = 20
"""Invocations before those that are measured."""
SIZES = {"1 KB": 1024, "64 KB": 64 * 1024}


def forged(size: int) -> dict[str, Any]:
    """A webhook with a wrong signature, whose body has this many bytes."""
    body = {"event": "charge.success", "tx_ref": TX_REF, "padding": ""}
    body["padding"] = "x" * (size - len(json.dumps(body)))
    event = http_event("POST", "/webhooks/chapa", body)
    event["headers"]["x-chapa-signature"] = "0" * 64
    return event


def alone(*calls: str) -> Case:
    """Calls like those of an invocation of ours, without the product (`bench/floor/calls.py`)."""
    layer, event = FOLDER / "layer" / "python", {"calls": dict.fromkeys(calls, 1)}
    return Case("floor", ROOT / "bench" / "floor", "calls.handler", layer, event, 200)


FLOORS = {
    "applied webhook": alone("Query", "UpdateItem", "verify", "TransactWriteItems"),
    "initialize": alone("Query", "TransactWriteItems", "open", "UpdateItem"),
}


def pairs() -> dict[str, tuple[Case, Case]]:
    """The baseline's case and ours, by what is measured."""
    known = {case.name: case for case in cases(FOLDER)}
    both = {name: (known[f"baseline {name}"], known[name]) for name in ("webhook", "initialize")}
    found = {}
    for name, size in SIZES.items():
        baseline, ours = (replace(c, event=forged(size), status=401) for c in both["webhook"])
        found[f"forged webhook, {name}"] = (baseline, ours)
    return found | {"applied webhook": both["webhook"], "initialize": both["initialize"]}


class Cost(NamedTuple):
    cpu_ms: float
    """Processor time of one invocation."""
    calls: int
    """To AWS and Chapa, of one invocation. The secret, which is kept for a while, is not one."""


def once(case: Case, times: int) -> Cost:
    with cloud.running(case.begun) as aws:
        environment = environment_of(aws.url)
        path = [case.layer, FOLDER / "runtime"]
        with runtime.warm(PYTHON, case.task, case.handler, path, environment) as call:
            call(case.event, BEFORE)
            before = aws.requests
            found = call(case.event, times)
            calls = round((aws.requests - before) / times)
    if found.answer["statusCode"] != case.status:
        raise RuntimeError(f"{case.name} answered {found.answer}")
    return Cost(found.cpu_ms, calls)


def measure(times: int) -> dict[str, list[Cost]]:
    """The baseline's, ours and, if there is one, the floor's, each the median of all rounds."""
    rounds: dict[str, list[list[Cost]]] = {}
    for _ in range(ROUNDS):
        for name, pair in pairs().items():
            measured = [*pair, FLOORS[name]] if name in FLOORS else pair
            rounds.setdefault(name, []).append([once(case, times) for case in measured])
    return {
        name: [median_low(costs) for costs in zip(*each, strict=True)]
        for name, each in rounds.items()
    }


def table(found: Mapping[str, Sequence[Cost]]) -> str:
    rows, goals = [], []
    for name, (baseline, ours, *floor) in found.items():
        ratio = ours.cpu_ms / baseline.cpu_ms
        goals.append(Goal(f"{name} ÷ baseline", ratio, 0.5))
        cells: list[object] = [name, f"{baseline.cpu_ms:.2f}", f"{ours.cpu_ms:.2f}", f"{ratio:.2f}"]
        cells += [baseline.calls, ours.calls]
        cells.append(f"{floor[0].cpu_ms:.2f}" if floor else "")
        if name.startswith("forged"):
            goals.append(Goal(f"{name}, per second ÷ baseline", 1 / ratio, 2, least=True))
            cells += [f"{1000 / each.cpu_ms:,.0f}" for each in (baseline, ours)]
        else:
            cells += ["", ""]
        rows.append(cells)
    head = ["Invocation", "baseline, CPU ms", "ours, CPU ms", "ours ÷ baseline"]
    head += ["baseline, calls", "ours, calls", "ours, calls alone, CPU ms"]
    head += ["baseline, per second and core", "ours, per second and core"]
    return f"{markdown(head, rows)}\n\n{verdict(goals)}"


def main() -> None:
    build(FOLDER)
    print(table(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 300)))


if __name__ == "__main__":
    main()
