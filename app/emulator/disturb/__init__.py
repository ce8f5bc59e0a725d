"""Faults: what they are, how they are set, how they strike."""
