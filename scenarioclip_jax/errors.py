"""The base of all errors that tell a user what to do."""


class ReadableError(Exception):
    """Something that a user can mend. The message says what is wrong and what to do.

    Commands show the message alone: a stack trace would only hide it.
    """
