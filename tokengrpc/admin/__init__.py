"""Admin ports: health, metrics and state of a server, on threads of their own."""
