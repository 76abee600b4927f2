"""HTTP/1.1 to engines: connections, their pool, the response parser."""
