"""Terminal output: tables, folding of lines, standard output that may be closed, error messages."""
