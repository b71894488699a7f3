"""Start of the web server, which needs the extra ``web``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .options import Serving

if TYPE_CHECKING:
    from ..hub import Hub
    from .server import Server

__all__ = ["Serving", "serve"]


def serve(hub: Hub, serving: Serving) -> Server:
    """Start the web server of a hub in a thread of its own, and return it once it listens.

    Raises:
        NasionError: the address cannot be listened on, or the certificate cannot be used.
    """
    from .server import Server

    return Server(hub, serving)
