"""What runs models: one module per engine, and what they share."""
