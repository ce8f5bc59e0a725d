"""What storms are let loose on: the gateway itself, and a naive one for comparison."""
