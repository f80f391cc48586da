"""The commands of the catalogue."""

from typing import Annotated

import typer

from operators import views
from operators.cli import Session, answer, app, given_amount

catalogue = typer.Typer(help="The products that are sold.", no_args_is_help=True)
app.add_typer(catalogue, name="catalogue")


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
    unit_price = given_amount(price)
    if unit_price is not None and unit_price <= 0:
        raise typer.BadParameter("A price is more than 0.")
    product = Session.stack.backend.repository.set_product(
        sku,
        name=name,
        unit_price=unit_price,
        currency=currency if name is not None and price is not None else None,
        for_sale=for_sale,
        add=add,
    )
    answer(views.product_details(product))
