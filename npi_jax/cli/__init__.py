"""The command line: one module for each command with its flags, and `actions` with the work of the longer ones."""
