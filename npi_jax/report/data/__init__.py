"""The numbers that the report shows, selected from a run's tables."""
