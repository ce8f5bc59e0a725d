"""The DashScope door, over sockets and with real SDKs."""
