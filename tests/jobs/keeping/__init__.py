"""Keeping pictures of finished jobs, and the alarm when they are at risk."""
