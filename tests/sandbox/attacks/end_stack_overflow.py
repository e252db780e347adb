"""endless recursion through C, without the interpreter's limit"""
import sys
sys.setrecursionlimit(1 << 30)
def act(obs):
    return sorted([0], key=act)
