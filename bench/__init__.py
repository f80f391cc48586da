"""What the product costs and how fast it is, beside a baseline. `make bench` runs all of it."""
