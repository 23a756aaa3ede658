"""The command line. Each command has a module with its flags; `actions` does the work of the longer commands."""
