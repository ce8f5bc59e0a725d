"""What speaks against an account, as long as it may be one request's doing."""
