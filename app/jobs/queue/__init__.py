"""The order of the queue: whose turn it is, and how long a job will wait."""
