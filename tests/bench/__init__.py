"""Tests of the measures: their arithmetic, and that each of them runs."""
