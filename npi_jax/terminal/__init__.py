"""Text on a terminal: tables, folding, standard output that may go away, error messages."""
