"""``python child.py [--nice N] [--user UID:GID] COMMAND…``: becomes the command, tied to the supervisor's life.

It gives way to others where it is told to, sheds root for engines that refuse it, and asks the kernel to end the
process when the supervisor dies, however it dies: no engine is left behind to hold ports and files. Only the standard
library is imported; this runs once per start.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(command: list[str], user: tuple[int, int] | None, niceness: int) -> None:
    """Replaces this process by the command. Raises OSError when that fails."""
    parent = os.getppid()
    os.nice(niceness)
    if user:
        uid, gid = user
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user: the kernel forgets the wish when a process changes its user.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit("the supervisor is gone already")
    os.execvp(command[0], command)  # noqa: S606  # its whole purpose; no shell


def main(arguments: list[str]) -> None:
    user, niceness = None, 0
    if arguments[:1] == ["--nice"]:
        niceness = int(arguments[1])
        arguments = arguments[2:]
    if arguments[:1] == ["--user"]:
        uid, gid = arguments[1].split(":")
        user = (int(uid), int(gid))
        arguments = arguments[2:]
    become(arguments, user, niceness)


if __name__ == "__main__":
    main(sys.argv[1:])
