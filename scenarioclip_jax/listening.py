"""Where the servers of this package listen, and by which names they are asked."""

import socket

from scenarioclip_jax.errors import ReadableError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})  # names of this machine


class ListenError(ReadableError):
    """A server can't listen there. The message names the flags."""


def listen(host: str, port: int) -> socket.socket:
    """Opens a socket to listen at; port 0 is any that is free.

    Raises:
      ListenError: It can't be opened.
    """
    try:
        if not 0 <= port < 1 << 16:  # the system would take the rest of a division
            raise OverflowError("ports are below 65536")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(found[4][:2], family=found[0])
    except (OSError, OverflowError, UnicodeError) as error:
        raise ListenError(
            f"--host={host} --port={port}: can't listen there ({error}); leave --port out for one that is free"
        ) from error


def host_of(header: str) -> str:
    """The name in a header `Host`, without its port."""
    if header.startswith("["):
        return header.partition("]")[0].lower() + "]"
    return header.partition(":")[0].lower()
