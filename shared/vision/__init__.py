"""The arithmetic of inspection; it knows no Kafka and no Redis."""
