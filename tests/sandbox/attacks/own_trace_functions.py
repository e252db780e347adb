"""traces and profiles the code around it"""
import sys, threading
seen = []
def look(frame, event, arg):
    seen.append((frame.f_code.co_name, event))
    return look
def act(obs):
    sys.settrace(look)
    sys.setprofile(look)
    return {'x': 1}
