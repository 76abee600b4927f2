"""What the house tells about itself: structured logs. Prompts, answers and secrets are never in them."""
