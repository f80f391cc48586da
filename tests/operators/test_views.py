"""How the tool shows what a terminal shows."""

from io import StringIO

from rich.console import Console

from operators.views import show


def test_values_within_a_cell_are_written_out_without_python() -> None:
    out = StringIO()
    lines = [{"sku": "MUG", "quantity": 1}, {"sku": "POT", "quantity": 2}]
    show(Console(file=out, width=100), [{"lines": lines, "for_sale": True, "paid_by": None}])
    _, row = out.getvalue().splitlines()
    assert row.split() == ["sku=MUG", "quantity=1;", "sku=POT", "quantity=2", "yes"]
