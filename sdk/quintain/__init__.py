"""quintain: designs policies for distributed systems by generate-and-verify.

This package is what other code imports: the contracts' generated code (``quintain.verifier.v1`` and so on), the clients
(``quintain.clients``), typed errors (``quintain.errors``), the plugin interfaces (``quintain.plugins``) and the
conformance suites (``quintain.conformance``).
"""

__version__ = "0.1.0"
