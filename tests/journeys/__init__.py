"""Whole journeys of jobs through real processes."""
