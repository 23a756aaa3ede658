"""The training step of one member."""
