"""an exception at the end of a chain of 200 000 causes, with a traceback of 200 000 frames"""
import types
def act(obs):
    error = ValueError('innermost')
    for _ in range(200_000):
        outer = ValueError('outer')
        outer.__cause__ = error
        error = outer
    try:
        raise error
    except ValueError as raised:
        traceback = raised.__traceback__
    frame = traceback.tb_frame
    for line in range(200_000):
        traceback = types.TracebackType(traceback, frame, 0, line)
    raise error.with_traceback(traceback)
