"""The commands of the catalogue."""

from pathlib import Path
from typing import Annotated

import typer

from operators import views
from operators.catalogue_file import Change, changes, read_file, wrong_in
from operators.cli import REFUSED, Session, answer, app, confirm, given_amount, note
from payments.aws.items import CATALOGUE_LIST
from payments.aws.table import Stale

catalogue = typer.Typer(help="The products that are sold.", no_args_is_help=True)
app.add_typer(catalogue, name="catalogue")


@catalogue.command("list", epilog="Example: ./operate catalogue list")
def list_products() -> None:
    """List all products with price and stock."""
    backend = Session.stack.backend
    listed = backend.lists.listed(CATALOGUE_LIST)
    products = backend.catalogue.products(entry.order_id for entry in listed)
    answer([views.product_details(products[sku]) for sku in sorted(products)])


@catalogue.command(
    epilog="Examples: ./operate catalogue load shop.csv --dry-run; ./operate catalogue load"
    " shop.csv. A file: sku,name,unit_price,currency,units,for_sale / MUG,Mug,150.50,ETB,20,yes"
)
def load(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CSV file with a header, or a JSON list.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
) -> None:
    """Add and change products as a file has them; `units` counts for new products only.

    The file is checked as a whole before anything is written. Products that it does not have stay
    as they are, and so does the stock of those that exist.
    """
    rows = read_file(file)
    catalogue = Session.stack.backend.catalogue
    found = changes(catalogue, rows)
    shown = [_shown(change) for change in found]
    result = {"products": len(rows), "changed": shown, "same": len(rows) - len(found)}
    if dry_run or not found:
        answer(result | {"written": False})
        return
    for line in shown:
        note(f"{line['sku']}: {line['change']}")
    confirm(f"{len(found)} of {len(rows)} products will be written.")
    for done, change in enumerate(found):
        try:
            catalogue.write_product(change.before, change.after)
        except Stale:
            note(
                f"{change.after.sku} was changed by somebody else meanwhile, after {done} of"
                f" {len(found)} products were written. Run the command again."
            )
            raise typer.Exit(REFUSED) from None
    answer(result | {"written": True})


def _shown(change: Change) -> dict[str, str]:
    before, after = change.before, change.after
    new = views.product_details(after)
    if before is None:
        what = ", ".join(f"{name} {new[name]}" for name in ("name", "price", "stocked", "for_sale"))
        return {"sku": after.sku, "change": f"new: {what}"}
    old = views.product_details(before)
    differs = [f"{name} {old[name]} -> {new[name]}" for name in new if old[name] != new[name]]
    return {"sku": after.sku, "change": ", ".join(differs)}


@catalogue.command("set", epilog="Example: ./operate catalogue set MUG --price 150.50 --add 20")
def set_product(
    sku: str,
    for_sale: Annotated[
        bool | None, typer.Option("--for-sale/--not-for-sale", help="Whether it can be bought.")
    ] = None,
    price: Annotated[str | None, typer.Option(help="As 100.00.")] = None,
    name: Annotated[str | None, typer.Option(help="What customers see.")] = None,
    currency: Annotated[str, typer.Option(help="ETB or USD; of a new product.")] = "ETB",
    add: Annotated[int, typer.Option(help="Units that are put in, or taken out.")] = 0,
) -> None:
    """Change a product; with --name and --price also add it."""
    given = {"sku": sku, "name": name, "unit_price": price, "currency": currency, "units": abs(add)}
    if wrong := wrong_in({key: value for key, value in given.items() if value is not None}):
        raise typer.BadParameter(" ".join(f"{sentence}." for sentence in wrong))
    product = Session.stack.backend.catalogue.set_product(
        sku,
        name=name,
        unit_price=given_amount(price),
        currency=currency if name is not None and price is not None else None,
        for_sale=for_sale,
        add=add,
    )
    answer(views.product_details(product))
