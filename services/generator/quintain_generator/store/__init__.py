"""The durable record: every request, every call of a provider, every cent."""
