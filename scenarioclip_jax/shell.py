"""Commands for people to paste."""

import re
import shlex


def to_paste(*words: object) -> str:
    """Words as a shell reads them back: for every command or flag that a message gives to be pasted.

    `--flag=value` keeps its flag outside the quotes.
    """

    def quoted(word: str) -> str:
        flag, equals, value = word.partition("=")
        if equals and re.fullmatch(r"--?[\w.-]+|[A-Za-z_]\w*", flag):
            return f"{flag}={shlex.quote(value)}"
        return shlex.quote(word)

    return " ".join(quoted(str(word)) for word in words)
