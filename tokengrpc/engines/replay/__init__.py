"""The engine that replays a recorded stream."""
