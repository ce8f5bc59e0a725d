"""Proofs of the doors for what comes unasked."""
