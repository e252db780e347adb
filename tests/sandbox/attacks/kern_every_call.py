"""every system call that the kernel may know, with zeros for arguments, but for those that it may make or would be killed for"""
MAY = {  # 335 and 336 belong to the kernel's own probes: it ends with SIGILL who calls them, filter or not
    'x86_64': {0, 1, 9, 10, 11, 12, 15, 24, 25, 28, 60, 202, 219, 231, 335, 336},
    'aarch64': {63, 64, 93, 94, 98, 124, 128, 139, 214, 215, 216, 222, 226, 233},
}
KILLED = {
    'x86_64': {59, 101, 125, 154, 155, *range(163, 177), 179, 227, 246, 248, 249, 250, 272, 298, 300, 304,
               305, 308, *range(310, 314), *range(317, 324), 329, 424, 425, 426, 427, *range(428, 434), 434, 438, 440,
               442, 443, 445, 447},
    'aarch64': {39, 40, 41, 60, 89, 91, 97, 104, 105, 106, 112, 117, 142, 170, *range(217, 220), 221, 224, 225, 241,
                262, 265, 266, 268, *range(270, 274), 277, 280, 281, 282, 288, 294, 424, 425, 426, 427,
                *range(428, 434), 434, 438, 440, 442, 443, 445, 447},
}
def act(obs):
    import ctypes, errno, struct, sys
    machine = 'aarch64' if 'aarch64' in getattr(sys.implementation, '_multiarch', '') else 'x86_64'
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    got = []
    for number in range(600):
        if number in MAY[machine] or number in KILLED[machine]:
            continue
        ctypes.set_errno(0)
        result = call(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
        if result >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
            got.append((number, result, ctypes.get_errno()))
    return {"r": "PWNED: %s" % got if got else "BLOCKED: all of them"}
