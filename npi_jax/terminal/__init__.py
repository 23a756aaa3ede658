"""Terminal output: tables, folding of lines, error messages, and standard output that may be closed."""
