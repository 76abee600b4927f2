"""What a terminal shows of a report: rows, columns, sparklines, and the keys that change it."""
