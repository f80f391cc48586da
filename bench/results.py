"""Put what the benches printed into `bench/results.md`, with plots of cold and warm calls."""

import os
import platform
import re
import sys
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

from bench.tables import MISSED, printed, rows_of

HERE = Path(__file__).parent
PACKAGES = ("aws-lambda-powertools", "pydantic", "requests", "botocore")


def plot(rows: list[list[str]], column: int, title: str) -> str:
    """Horizontal bars of one column of a table."""
    values = [(row[0], float(row[column])) for row in rows]
    most = max(value for _, value in values)
    bars = "".join(
        f'<text x="150" y="{46 + 24 * n}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="158" y="{34 + 24 * n}" width="{360 * value / most:.0f}" height="16"/>'
        f'<text x="{164 + 360 * value / most:.0f}" y="{46 + 24 * n}">{value:.2f}</text>'
        for n, (name, value) in enumerate(values)
    )
    height = 44 + 24 * len(values)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="{height}"'
        ' font-family="sans-serif" font-size="12" fill="#357">'
        f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>{bars}</svg>\n'
    )


def machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} processors (load at"
        f" the end: {busy}), Python {platform.python_version()}, {versions}."
    )


def missed(benches: dict[str, str]) -> str:
    """A list of what the benches say of their missed goals."""
    lines = [
        f"- `{name}`: {line.removeprefix(MISSED)}"
        for name, text in benches.items()
        for line in text.splitlines()
        if line.startswith(MISSED)
    ]
    return "\n".join(lines) or "None."


def main() -> None:
    text = (HERE / "results.in.md").read_text()
    benches = {
        name.lower(): printed(name.lower())
        for name in re.findall(r"@([A-Z]+)@", text)
        if name not in {"MACHINE", "MISSED"}
    }
    cold, warm = rows_of(benches["cold"]), rows_of(benches["warm"])
    (HERE / "cold.svg").write_text(plot(cold, -1, "Cold start: processor time ÷ floor"))
    (HERE / "warm.svg").write_text(plot(warm, 3, "Warm call: processor time ÷ baseline"))
    parts = {"machine": machine(), "missed": missed(benches)} | benches
    for name, content in parts.items():
        text = text.replace(f"@{name.upper()}@", content.strip())
    (HERE / "results.md").write_text(text)
    sys.stdout.write("bench/results.md is written.\n")


if __name__ == "__main__":
    main()
