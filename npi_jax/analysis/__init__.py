"""From scores to what can be said about them: curves, intervals, acquisition."""
