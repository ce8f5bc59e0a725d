"""Prices, the ledger, daily usage and the reports on them."""
