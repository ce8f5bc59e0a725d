"""First start on a fresh machine, in copies of the checkout with small packages of their own."""
