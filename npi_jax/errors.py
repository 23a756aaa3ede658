"""What the user can mend: the command line says it in a line; anything else is a bug and keeps its traceback."""


class UserError(ValueError):
    """Something wrong with what the user gave; the message says what, where, and what to do."""
