"""Put what the benches printed into `bench/results.md`, with a plot of the cold starts."""

import os
import platform
import sys
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

from bench.tables import rows_of

HERE = Path(__file__).parent
PRINTED = HERE.parent / ".bench"
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


def main() -> None:
    cold, counts = ((PRINTED / f"{name}.md").read_text() for name in ("cold", "counts"))
    rows = rows_of(cold)
    (HERE / "cold.svg").write_text(plot(rows, -1, "Cold start: processor time ÷ floor"))
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    head = (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} processors,"
        f" Python {platform.python_version()}, {versions}."
    )
    text = (HERE / "results.in.md").read_text()
    for name, content in {"MACHINE": head, "COLD": cold, "COUNTS": counts}.items():
        text = text.replace(f"@{name}@", content.strip())
    (HERE / "results.md").write_text(text)
    sys.stdout.write("bench/results.md is written.\n")


if __name__ == "__main__":
    main()
