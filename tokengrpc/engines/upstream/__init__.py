"""Code that all engines over HTTP and server-sent events share."""
