"""Everything on one machine: `up`, `demo`, and what they start and watch."""
