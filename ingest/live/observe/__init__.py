"""What can be seen of a running ingester: conditions, metrics, alerts to people, word to the service manager."""
