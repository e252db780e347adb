"""The built-in backends. Each is loaded by its entry point only, so an SDK that is not installed is not needed."""
