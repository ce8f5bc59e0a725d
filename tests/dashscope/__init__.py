"""Tests of the way upstream."""
