"""Who may see the pages: whoever has the token, which they may try a few times a minute."""

import hmac
import os
import secrets
import threading
import time
from collections import defaultdict, deque
from pathlib import Path

from nbcad.errors import InputError

MOST_TRIES, SECONDS = 5, 60.0  # wrong tokens of one address, and within which time they count
_SHORTEST = 20  # characters of a token
MOST_ADDRESSES = 10_000


def read_token(path: Path) -> str:
    """Return the token of a file, created on first use and readable by its owner only.

    Raises:
        InputError: it is shorter than 20 characters.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    token = path.read_text(encoding="utf-8").strip()
    if len(token) < _SHORTEST:
        raise InputError(f"the token in {path} is shorter than {_SHORTEST} characters; give another or let it be made")
    return token


class Door:
    """Compares tokens, in a time that tells nothing of them."""

    def __init__(self, token: str):
        self._token = token.encode()
        self._wrong: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_TRIES))
        self._lock = threading.Lock()

    def opens(self, token: str, address: str) -> bool | None:
        """Return whether a token is right; None if its sender's address must wait before the next try."""
        now = time.monotonic()
        with self._lock:
            wrong = self._wrong[address]
            if len(wrong) == MOST_TRIES and now - wrong[0] < SECONDS:
                return None
            if hmac.compare_digest(token.encode(), self._token):
                del self._wrong[address]
                return True
            wrong.append(now)
            if len(self._wrong) > MOST_ADDRESSES:  # the one that tried first is forgotten
                del self._wrong[next(iter(self._wrong))]
            return False
