"""TLS of the node's connections."""

import ssl

from nbcad.errors import InputError
from nbcad.node.config import Tls


def server_tls(files: Tls) -> ssl.SSLContext | None:
    """Return the TLS context for peers; None without a certificate.

    Raises:
        InputError: the files cannot be used.
    """
    if not files.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificates(context, files)
    if files.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_certificates(context: ssl.SSLContext, files: Tls) -> None:
    """Give a context the certificate, its key and the authorities that are set.

    Raises:
        InputError: the files cannot be used.
    """
    try:
        if files.certificate:
            context.load_cert_chain(files.certificate, files.key)
        if files.ca:
            context.load_verify_locations(files.ca)
    except OSError as error:  # ssl.SSLError is one
        raise InputError(f"[tls]: certificate, key or ca cannot be used: {error}") from error
