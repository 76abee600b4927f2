"""The gRPC surface: one short method per RPC, and what surrounds every call."""
