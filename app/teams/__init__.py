"""Who pays: teams, their keys, and the check of a key."""
