"""The base of all errors that tell a user what to do."""


class ReadableError(Exception):
    """An error that a user can fix. The message says what is wrong and what to do.

    Commands show only the message, because a stack trace would hide it.
    """
