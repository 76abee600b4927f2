"""One suite for the clients of all languages."""
