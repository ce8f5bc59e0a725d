"""Tests of storms, crash points, and the checker that judges both."""
