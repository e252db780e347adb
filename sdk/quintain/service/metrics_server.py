"""The Prometheus endpoint: a few threads and connections, and none that stays open without a request."""

from __future__ import annotations

import threading

from prometheus_client import make_wsgi_app
from waitress.server import create_server

_THREADS = 2
_CONNECTIONS = 50
_IDLE_SECONDS = 10  # after which a connection without a request, or that does not read, is closed


class MetricsServer:
    """Serves from its making on, in threads of its own, until `stop`. Raises OSError if the address is taken."""

    def __init__(self, host: str, port: int) -> None:
        self._connections: dict[int, object] = {}
        self._server = create_server(
            make_wsgi_app(),
            map=self._connections,
            host=host,
            port=port,
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            channel_timeout=_IDLE_SECONDS,
            cleanup_interval=1,
            ident="quintain",
        )
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all connections and threads. Repeating it is harmless."""
        if not self._thread.is_alive():
            return
        self._server.trigger.pull_trigger(self._close)
        self._thread.join(5.0)
        self._server.task_dispatcher.shutdown(timeout=1)

    def _close(self) -> None:
        """In the server's own thread, whose loop ends when nothing is left to watch."""
        for connection in list(self._connections.values()):
            connection.close()  # type: ignore[attr-defined]
