"""What a client may ask, checked whole before anything is stored (pure)."""
