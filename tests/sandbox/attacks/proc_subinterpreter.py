"""works in an interpreter of its own, where nothing is patched"""
def act(obs):
    import _xxsubinterpreters as sub
    interpreter = sub.create()
    sub.run_string(interpreter, "import os\ntry:\n    open('/tmp/attack-run/pwned', 'w')\nexcept Exception:\n    os.fork()")
    return {"r": "PWNED: it ran"}
