"""The pages agree with the project. The route table of the README is generated from openapi.yaml:

WRITE=1 .venv/bin/python -m pytest tests/test_readme.py
"""

import os
import re
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest

from payments.domain.states import PAYMENT_MOVES, PaymentStatus
from tests.contract import document, operations, problem_codes

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
PAGES += [
    "docs/architecture.md",
    "docs/deploy.md",
    "docs/front-end.md",
    "docs/operate.md",
    "docs/operators.md",
]
ROUTES = re.compile(r"(<!-- routes: .*? -->\n)(.*)(<!-- end of routes -->)", re.DOTALL)
ACCESS = {"token": "JWT", "signature": "HMAC signature"}


def route_table() -> str:
    everywhere = set.intersection(*map(problem_codes, operations()))
    lines = ["| Route and body | Authentication | Success | Error codes |", "|---|---|---|---|"]
    for route, (_, operation) in operations().items():
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        required = schema.get("required", [])
        names = [n + "?" * (n not in required) for n in schema.get("properties", {})]
        body = f" {{{', '.join(names)}}}" if names else ""
        schemes = operation.get("security", document()["security"])
        access = ACCESS[next(iter(schemes[0]))] if schemes else "none"
        success = ", ".join(status for status in operation["responses"] if status < "300")
        problems = groupby(sorted(problem_codes(route) - everywhere), key=itemgetter(0))
        codes = "; ".join(f"{n} {', '.join(f'`{code}`' for _, code in g)}" for n, g in problems)
        lines.append(f"| `{route}{body}` | {access} | {success} | {codes or 'none'} |")
    common = " and ".join(f"{status} `{code}`" for status, code in sorted(everywhere))
    return "\n".join([*lines, "", f"Every route can also answer {common}.", ""])


def test_route_table_of_the_readme_is_generated_from_openapi() -> None:
    text = README.read_text()
    expected = ROUTES.sub(lambda match: f"{match[1]}{route_table()}{match[3]}", text)
    if os.environ.get("WRITE"):
        README.write_text(expected)
    assert ROUTES.search(text)
    assert README.read_text() == expected


def test_page_about_front_ends_explains_every_code_that_a_page_can_get() -> None:
    page = (ROOT / "docs/front-end.md").read_text().partition("## What each code means")[2]
    explained = [
        code
        for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", row)
    ]
    routes = [route for route in operations() if "/webhooks/" not in route]
    possible = {code for route in routes for _, code in problem_codes(route)}
    assert sorted(explained) == sorted(possible)


def test_state_diagram_shows_only_transitions_that_exist() -> None:
    diagram = (ROOT / "docs/architecture.md").read_text().partition("stateDiagram-v2")[2]
    moves = re.findall(r"^ +(\w+) --> (\w+)", diagram.partition("```")[0], re.MULTILINE)
    assert moves
    for before, after in moves:
        assert PaymentStatus(after) in PAYMENT_MOVES[PaymentStatus(before)]


@pytest.mark.parametrize("page", PAGES)
def test_files_and_make_targets_of_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    words = re.findall(r"`((?:\w+/)+[\w./]*|\w+\.(?:md|yaml|toml))`", text)
    assert [word for word in words if not (ROOT / word).exists()] == []
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^ +)make ([a-z]+)", text, re.MULTILINE)) <= set(rules)


FOLDERS = (".github", "bench", "docs", "sandbox")
EVERY_PAGE = sorted([*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))])


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_a_file_and_its_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text())
    for file, heading in links:
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not heading or heading in headings(target), (file, heading)


def headings(page: Path) -> set[str]:
    """As GitHub names them in links."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in found}
