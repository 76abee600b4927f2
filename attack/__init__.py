"""`make attack`: hostile peers on raw sockets, and a good client beside them that must not notice."""
