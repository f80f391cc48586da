"""Take money for orders through Chapa, once per order, whatever the network does."""
