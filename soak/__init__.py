"""`make soak`: mixed endings for a long time on one server, whose memory and handles must not grow."""
