"""sys.exit(0) in the middle of a run"""
import sys
def act(obs):
    sys.exit(0)
