"""answers with an integer of a billion digits"""
import sys
sys.set_int_max_str_digits(0)
def act(obs):
    return 10 ** 1_000_000_000
