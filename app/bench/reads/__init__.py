"""Measures of what is read: lists and places."""
