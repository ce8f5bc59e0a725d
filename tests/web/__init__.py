"""What every door shares: bodies, request ids, what is told of trouble."""
