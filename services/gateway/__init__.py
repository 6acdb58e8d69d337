"""Pictures from cameras, folders and HTTP into Kafka."""
