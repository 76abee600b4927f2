"""The gRPC surface: one short handler per RPC, and the interceptor around every call."""
