"""A module of a wheel that was made for another version."""

raise ImportError("cannot import name 'Simulatorr' from 'quintain.plugins.simulator'")
