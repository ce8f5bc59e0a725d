"""Tests of the bottom layer: database, locks, loops."""
