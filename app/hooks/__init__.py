"""Doors for what the upstream tells by itself."""
