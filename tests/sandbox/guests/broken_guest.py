"""A guest that reaches for what the jail does not have."""

import numpy

__all__ = ["numpy"]
