"""Real clients, unmodified: what people run against the gateway."""
