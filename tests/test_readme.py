import re
from pathlib import Path

from payments.errors import TABLE
from payments.states import PAYMENT_MOVES, PaymentStatus
from tests.template import template

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_error_code_of_the_code_is_in_the_contract() -> None:
    codes = {answer.code for answer in TABLE.values()} - {"refund_too_large"}  # Operators' own.
    named = set(re.findall(r"`([a-z_]+)`", README))
    assert codes <= named


def test_every_route_of_the_template_is_in_the_contract() -> None:
    resources = template()["Resources"].values()
    routes = {r["Properties"]["RouteKey"] for r in resources if r["Type"].endswith("::Route")}
    told = set(re.findall(r"^\| `([A-Z]+ /[^`? ]+)", README, flags=re.MULTILINE))
    assert told == routes


def test_the_diagram_shows_only_moves_that_exist() -> None:
    diagram = README.partition("stateDiagram-v2")[2].partition("```")[0]
    moves = re.findall(r"^ +(\w+) --> (\w+)", diagram, flags=re.MULTILINE)
    assert moves
    for before, after in moves:
        assert PaymentStatus(after) in PAYMENT_MOVES[PaymentStatus(before)]


def test_every_file_that_it_names_is_there() -> None:
    names = set(re.findall(r"\]\(([^)#:]+)\)", README))
    modules = {f"shared/payments/{name}" for name in re.findall(r"`([a-z]+\.py)`", README)}
    for name in names | modules:
        assert (ROOT / name).is_file(), name


def test_every_make_target_that_it_names_is_there() -> None:
    targets = set(re.findall(r"make ([a-z]+)", README)) - {"make"}
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert targets <= rules
