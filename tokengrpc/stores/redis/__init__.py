"""Event logs in Redis or Valkey: streams that replicas share."""
