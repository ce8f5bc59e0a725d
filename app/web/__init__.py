"""What every door shares: bodies, callers, request ids."""
