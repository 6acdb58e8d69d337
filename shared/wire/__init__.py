"""Events as bytes: Avro in Confluent wire format."""
