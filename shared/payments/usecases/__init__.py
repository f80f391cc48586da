"""The use cases: each reads, decides, calls the provider where it must, and saves."""
