"""The measures of the product, each beside its yardstick from the same run."""
