"""The emulator of Google Cloud Storage, mended: it loses a carriage return that ends an uploaded object.

gcsfs puts a newline before a part's end, and the emulator's parser takes "\\r\\n" there for one line end. What
Orbax writes ends in that byte once in 256 files, and such a checkpoint would rightly be found damaged.
"""

import sys
from email.parser import BytesParser

from gcp_storage_emulator import server
from gcp_storage_emulator.__main__ import main


class _Parser(BytesParser):
    def parsebytes(self, text, headersonly=False):
        content, newline, end = text.rpartition(b"\n--")
        return super().parsebytes(content + b"\r" + newline + end, headersonly)


if __name__ == "__main__":
    server.BytesParser = _Parser
    sys.exit(main())
