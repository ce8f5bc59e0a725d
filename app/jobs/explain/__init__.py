"""A job's whole story, for a person at three in the morning: rows in, timeline out."""
