"""The results of a run: its directory, its tables and their schema."""
