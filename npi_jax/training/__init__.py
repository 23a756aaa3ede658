"""The member's step, its mapping over the ensemble, and the loop around it."""
