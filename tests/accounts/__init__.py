"""Tests of upstream accounts."""
