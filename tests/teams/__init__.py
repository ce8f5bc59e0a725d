"""Tests of teams and keys."""
