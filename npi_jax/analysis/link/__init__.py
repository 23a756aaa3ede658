"""The link between alignment and transfer."""
