"""Root gives up its rights where a service's user may have put what it is to read, or a link to somewhere else."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

OWNER = "postgres"  # of PostgreSQL's data


def become(user: str = OWNER) -> None:
    """For good. By the user's name: an owner of a file is who the file's owner wants it to be."""
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


@contextmanager
def acting_as(user: str = OWNER) -> Iterator[None]:
    """For as long as this lasts, where it is root who asks. No program is run meanwhile."""
    account = pwd.getpwnam(user)
    mine, group, groups = os.geteuid(), os.getegid(), os.getgroups()
    if mine == account.pw_uid:
        yield
        return
    os.setgroups(os.getgrouplist(user, account.pw_gid))
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(mine)
        os.setegid(group)
        os.setgroups(groups)
