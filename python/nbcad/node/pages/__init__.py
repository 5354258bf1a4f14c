"""The node's pages for people and for monitoring: the work list, the reports kept, /health and /metrics."""

from nbcad.node.pages.config import Config
from nbcad.node.pages.login import read_token
from nbcad.node.pages.server import Server, serve

__all__ = ["Config", "Server", "read_token", "serve"]
