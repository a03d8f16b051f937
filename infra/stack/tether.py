"""Become another program that does not outlive the process which started it.

    python -I -S tether.py PARENT SIGNAL UID COMMAND [ARGUMENT...]

PARENT is the process id that must still be our parent, SIGNAL the number of the signal that the kernel sends when it
dies, UID whom to run as (`-`: as we are). Stands alone, and imports everything before the user changes: the new one
may not be allowed to read the interpreter's own files.
"""

from __future__ import annotations

import ctypes
import os
import sys

#: prctl(2): the signal that we get when the thread which made us ends. Linux only.
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Change user, tie the knot, and exec: in this order, for a change of user loosens the knot."""
    parent, death_signal, user, *command = arguments
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if user != "-":
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    if library is not None:
        library.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the parent is gone")
    os.execvp(command[0], command)  # noqa: S606 - no shell: the command is the caller's own list


if __name__ == "__main__":
    main(sys.argv[1:])
