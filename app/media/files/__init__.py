"""Files that clients brought: kept, bounded for each team, and deleted in their time."""
