"""The embedded Postgres: real servers, killed and crowded as on a real machine."""
