"""The builtin engine: an n-gram model that has read one guide and needs no download."""
