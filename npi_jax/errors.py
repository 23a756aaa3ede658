"""What the user can mend: the command line says it in a line; anything else is a bug and keeps its traceback."""


class UserError(ValueError):
    """Something wrong with what the user gave; the message says what, where, and what to do."""


def first_line(error: BaseException) -> str:
    """The beginning of what an error says, for the messages of ours; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
