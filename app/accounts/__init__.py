"""Upstream accounts: keys encrypted, limits, lanes."""
