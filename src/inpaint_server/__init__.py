"""inpaint-server: product photo and a few words in, adverts out."""

from __future__ import annotations

__version__ = "0.5.0"
