"""Data inside an HTML file: compressed, and written with characters that mean nothing to HTML.

plotly's code alone is 4.8 MB; the page unpacks it in the browser (``report.js``).
"""

from __future__ import annotations

import base64
import gzip

# Three characters of base 85 that HTML reads, and what stands for them; report.js knows the same.
_SAFE = bytes.maketrans(b"<>&", b",.:")


def pack(text: str) -> str:
    """Base 85 of the gzip of a text. The same text gives the same characters."""
    return base64.b85encode(gzip.compress(text.encode(), 9, mtime=0)).translate(_SAFE).decode()
