"""Picture bytes: looked at, fetched, kept."""
