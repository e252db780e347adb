"""Readers of recorded logs: of public data sets, and of tables of one's own. Each gives rows with common names."""
