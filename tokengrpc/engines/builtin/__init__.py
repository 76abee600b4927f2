"""The builtin engine: an n-gram model that is trained on one guide and needs no download."""
