"""Work beside the requests: loops, chores, and the pace of calls."""
