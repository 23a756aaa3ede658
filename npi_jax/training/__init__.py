"""Training of an ensemble: one member's step, its mapping over all members, and the training loop."""
