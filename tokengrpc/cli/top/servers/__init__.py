"""What servers count: their metrics are read, compared over time, and added up."""
