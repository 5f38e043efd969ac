"""Ports for servers that start later."""

import socket


def hold_port() -> socket.socket:
    """A port of the loopback that nobody else gets until this is closed, and that a server can listen on meanwhile.

    One that was only looked up may be the local end of somebody's connection by the time that its server starts. Linux
    lets a socket listen beside one that is bound and does not, where both say SO_REUSEADDR, and gives such a port to no
    connection.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held
