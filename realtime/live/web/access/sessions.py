"""Access to the server: its token, and the sessions of the browsers that have given it."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic

from .hosts import Hosts
from .limits import Rates

LIFETIME = 7 * 24 * 3600.0
"""Seconds after which a session that was not used ends."""
_MOST_SESSIONS = 256
_GUESSES, _GUESS_BURST = 0.2, 10.0  # wrong tokens of one address, per second and at once


class Sessions:
    """Sessions of the browsers that have signed in, by the digest of their secret; they end with the process."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Start without sessions."""
        self._clock = clock
        self._used: OrderedDict[bytes, float] = OrderedDict()

    def begin(self) -> str:
        """Begin a session and return its secret; of too many, the one unused for longest ends."""
        secret = secrets.token_urlsafe(32)
        self._used[_digest(secret)] = self._clock()
        if len(self._used) > _MOST_SESSIONS:
            self._used.popitem(last=False)
        return secret

    def has(self, secret: str) -> bool:
        """Return True if there is such a session, which was used just now."""
        digest = _digest(secret)
        used = self._used.pop(digest, None)
        if used is None or self._clock() - used > LIFETIME:
            return False
        self._used[digest] = self._clock()
        return True

    def end(self, secret: str) -> None:
        """End a session, if there is one."""
        self._used.pop(_digest(secret), None)


@dataclass(frozen=True, slots=True)
class Access:
    """Rules of access to one server.

    Attributes:
        hosts: hosts and origins that requests may name.
        token: secret that every request needs; None if none is needed.
        cookie: name of the cookie of a browser that has signed in.
        sessions: browsers that have given the token.
        wrong_tokens: wrong tokens in headers, by address.
        wrong_sign_ins: wrong tokens in the form, by address; a program with an old token keeps no person out.
    """

    hosts: Hosts
    token: str | None = field(default=None, repr=False)
    cookie: str = "nasion"
    sessions: Sessions = field(default_factory=Sessions, repr=False)
    wrong_tokens: Rates = field(default_factory=lambda: Rates(_GUESSES, _GUESS_BURST), repr=False)
    wrong_sign_ins: Rates = field(default_factory=lambda: Rates(_GUESSES, _GUESS_BURST), repr=False)

    def is_token(self, given: str) -> bool:
        """Compare with the token in a time that does not depend on how much of it is right."""
        return self.token is not None and secrets.compare_digest(_digest(given), _digest(self.token))

    def admits(self, authorization: str, cookie: str | None) -> bool:
        """Return True for a request with this ``Authorization`` header and session cookie."""
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        return cookie is not None and self.sessions.has(cookie)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()
