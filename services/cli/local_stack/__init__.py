"""Real Kafka, Valkey and schema registry as plain processes of the user: no root, no containers."""
