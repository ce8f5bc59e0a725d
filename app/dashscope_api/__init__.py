"""The upstream's wire, served by us: unmodified DashScope SDKs work against it."""
