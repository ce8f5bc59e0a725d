"""The engine's rules (pure): what a job's state and a piece of news mean, at a moment in time."""
