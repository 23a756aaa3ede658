"""Watching a run and stopping it."""
