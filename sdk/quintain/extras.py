"""The wheel's extras: which one brings a library that is not installed."""

from __future__ import annotations

EXTRAS = {
    "plotly": "viz",
    "openai": "llm",
    "anthropic": "llm",
    "httpx2": "llm",
    "mcp": "mcp",
    "psycopg": "postgres",
    "opentelemetry.sdk": "tracing",
    "opentelemetry.exporter": "tracing",
}


def install_hint(module: str | None) -> str:
    """How to install `module` (the name of a ModuleNotFoundError), in one line; empty where no extra brings it."""
    for library, extra in EXTRAS.items():
        if module == library or (module or "").startswith(f"{library}."):
            return f"{library} is not installed: pip install 'quintain[{extra}]'"
    return ""
