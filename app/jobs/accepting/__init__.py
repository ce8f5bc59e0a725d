"""What acceptance and its callers need: inputs held, guards settled, ends waited for."""
