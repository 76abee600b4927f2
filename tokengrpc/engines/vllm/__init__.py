"""The engine for vLLM's own gRPC service: token ids in, token ids out."""
