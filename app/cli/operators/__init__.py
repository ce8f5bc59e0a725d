"""The operators' verbs, by noun."""
