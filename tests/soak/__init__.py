"""`make soak`: many orders on the local stack while a tenth of Chapa's responses go wrong."""

import sandbox  # noqa: F401 (it makes the product's package importable)
