"""AWS: the table, the queue, the event bus and the secret."""
