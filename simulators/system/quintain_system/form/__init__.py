"""The package format: what `system.toml` and suites say, read and checked."""
