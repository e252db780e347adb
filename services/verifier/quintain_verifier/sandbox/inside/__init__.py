"""The untrusted side of the jail: fork server, lock-down and the policy's loop. Standard library only."""
