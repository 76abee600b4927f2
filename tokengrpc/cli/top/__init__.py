"""`tokengrpc top`: what servers do, as their admin ports show it."""
