"""What a verification means: its identity, how a verdict is made of outcomes, what is said about it. Plain Python: no
clock, no environment, no I/O; the same input gives the same output on every machine and Python version."""
