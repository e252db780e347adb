"""The trusted worker processes: each holds the simulators and a jail, and runs one policy on one scenario at a time."""
