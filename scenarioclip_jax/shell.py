"""Commands for users to paste."""

import re
import shlex


def to_paste(*words: object) -> str:
    """Quotes words for a shell; used for every command or flag that a message offers for pasting.

    `--flag=value` keeps its flag outside the quotes.
    """

    def quoted(word: str) -> str:
        flag, equals, value = word.partition("=")
        if equals and re.fullmatch(r"--?[\w.-]+|[A-Za-z_]\w*", flag):
            return f"{flag}={shlex.quote(value)}"
        return shlex.quote(word)

    return " ".join(quoted(str(word)) for word in words)
