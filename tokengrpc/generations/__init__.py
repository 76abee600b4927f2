"""Running generations and their readers: the only package that knows both."""
