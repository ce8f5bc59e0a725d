"""Postgres for every room: connections, schema, locks and notifications."""
