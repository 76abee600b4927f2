"""Generations under way and their readers: the only room that knows both sides."""
