"""What all engines over HTTP and server-sent events share."""
