"""Checkpoints of the whole ensemble, with checksums."""
