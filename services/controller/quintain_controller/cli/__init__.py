"""The command line ``quintain``: a client of the three services, and the local stack that they run in."""
