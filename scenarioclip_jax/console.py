"""Lines on the terminal, which never end a job: its reader may go away, or be unable to show a character."""

import os
import sys


def say(text: str, *, error: bool = False) -> str | None:
    """Prints a line to standard output, or to standard error.

    Characters that the stream can't encode are escaped. A stream that can't be written to any more, such as a
    pipe into `head`, is replaced by one that drops everything.

    Returns:
      Why the line, or an earlier one, couldn't be written; None if all is well.
    """
    name = "stderr" if error else "stdout"
    stream = getattr(sys, name)
    if stream is None:  # closed from the start
        return None
    try:
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            shown = text.encode(encoding, "backslashreplace").decode(encoding)
            print(shown, file=stream, flush=True)
    except (OSError, ValueError) as failed:
        # Python would flush the old stream again at exit, and fail.
        stream = open(os.devnull, "w", encoding="utf-8", errors="replace")
        stream.lost = str(failed)
        setattr(sys, name, stream)
    return getattr(stream, "lost", None)
