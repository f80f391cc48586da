"""Whatever knows Chapa: the provider interface, its implementations, and Chapa's webhooks."""
