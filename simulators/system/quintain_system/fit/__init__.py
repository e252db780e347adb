"""Fitting models to recordings: a search whose candidates are models of a system."""
