"""What is particular to Chapa: the provider interface, its versions, and webhooks."""
