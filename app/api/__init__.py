"""The native door: JSON over HTTP, in our own words."""
