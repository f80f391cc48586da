"""Warm calls: processor time of one invocation in a process that has answered some before.

Ours and the baseline get the same events and the same answers (`bench/cloud.py`), in turn.
`python -m bench.warm [CALLS]` prints the table.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from bench import cloud, runtime
from bench.cloud import TX_REF
from bench.cold import FOLDER, PYTHON, Case, build, cases, environment_of, http_event
from bench.tables import Goal, markdown, verdict

ROUNDS = 3
BEFORE = 20
"""Calls before those that are measured."""
SIZES = {"1 KB": 1024, "64 KB": 64 * 1024}


def forged(size: int) -> dict[str, Any]:
    """A webhook with a wrong signature, whose body has this many bytes."""
    body = {"event": "charge.success", "tx_ref": TX_REF, "padding": ""}
    body["padding"] = "x" * (size - len(json.dumps(body)))
    event = http_event("POST", "/webhooks/chapa", body)
    event["headers"]["x-chapa-signature"] = "0" * 64
    return event


def pairs() -> dict[str, tuple[Case, Case]]:
    """The baseline's case and ours, by what is measured."""
    known = {case.name: case for case in cases(FOLDER)}
    both = {name: (known[f"baseline {name}"], known[name]) for name in ("webhook", "initialize")}
    found = {}
    for name, size in SIZES.items():
        baseline, ours = (replace(c, event=forged(size), status=401) for c in both["webhook"])
        found[f"forged webhook, {name}"] = (baseline, ours)
    return found | {"applied webhook": both["webhook"], "initialize": both["initialize"]}


def once(case: Case, calls: int) -> float:
    """Milliseconds of processor time of one call."""
    with cloud.running(case.begun) as aws:
        environment = environment_of(aws.url)
        path = [case.layer, FOLDER / "runtime"]
        with runtime.warm(PYTHON, case.task, case.handler, path, environment) as call:
            call(case.event, BEFORE)
            found = call(case.event, calls)
    if found.answer["statusCode"] != case.status:
        raise RuntimeError(f"{case.name} answered {found.answer}")
    return found.cpu_ms


def measure(calls: int) -> dict[str, tuple[float, float]]:
    rounds: dict[str, list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for name, (baseline, ours) in pairs().items():
            rounds.setdefault(name, []).append((once(baseline, calls), once(ours, calls)))
    return {
        name: (median(base for base, _ in each), median(ours for _, ours in each))
        for name, each in rounds.items()
    }


def table(found: Mapping[str, tuple[float, float]]) -> str:
    rows, goals = [], []
    for name, (baseline, ours) in found.items():
        goals.append(Goal(f"{name} ÷ baseline", ours / baseline, 0.5))
        cells = [name, f"{baseline:.2f}", f"{ours:.2f}", f"{ours / baseline:.2f}"]
        if name.startswith("forged"):
            goals.append(Goal(f"{name}, per second, ÷ baseline", baseline / ours, 2, least=True))
            cells += [f"{1000 / baseline:,.0f}", f"{1000 / ours:,.0f}"]
        else:
            cells += ["", ""]
        rows.append(cells)
    head = ["Call", "baseline, CPU ms", "ours, CPU ms", "ours ÷ baseline"]
    head += ["baseline, per second and core", "ours, per second and core"]
    return f"{markdown(head, rows)}\n\n{verdict(goals)}"


def main() -> None:
    build(FOLDER)
    print(table(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 300)))


if __name__ == "__main__":
    main()
