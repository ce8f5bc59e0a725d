"""What strangers and hostile clients send, and what it costs the others."""
