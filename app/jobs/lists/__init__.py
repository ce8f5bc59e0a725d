"""Lists of jobs: which index a filter walks, and a page of it."""
