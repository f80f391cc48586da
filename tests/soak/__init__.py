"""`make soak`: a market day on the local stack, on which a tenth of everything goes wrong."""
