"""The engine: claims queued jobs, submits, watches, collects. Steps decide, loops record."""
