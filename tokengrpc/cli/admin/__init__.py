"""`tokengrpc tenants` and `tokengrpc keys`: what an admin changes while servers run."""
