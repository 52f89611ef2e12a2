"""What a child process may know of our environment."""

import os
import sys
from collections.abc import Mapping, Sequence

__all__ = ("SAFE_ENVIRONMENT", "child_environment")

# What programs need to find files, speak the user's language and start at all. A server is somebody else's
# program: variables that hold tokens and passwords reach it only by name, through `env`.
if sys.platform == "win32":
    SAFE_ENVIRONMENT: tuple[str, ...] = (
        "ALLUSERSPROFILE",
        "APPDATA",
        "COMMONPROGRAMFILES",
        "COMSPEC",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "NUMBER_OF_PROCESSORS",
        "OS",
        "PATH",
        "PATHEXT",
        "PROCESSOR_ARCHITECTURE",
        "PROGRAMDATA",
        "PROGRAMFILES",
        "PROGRAMFILES(X86)",
        "PROGRAMW6432",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "USERDOMAIN",
        "USERNAME",
        "USERPROFILE",
        "WINDIR",
    )
else:
    SAFE_ENVIRONMENT: tuple[str, ...] = (
        "HOME",
        "LANG",
        "LANGUAGE",
        "LC_*",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    )


def child_environment(
    inherit: Sequence[str] = SAFE_ENVIRONMENT,
    env: Mapping[str, str] | None = None,
    *,
    ours: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The variables of `ours` that `inherit` names, and then those of `env`, which win.

    A name that ends in `*` stands for all that begin like it: `("*",)` inherits everything.
    """
    exact = {name for name in inherit if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in inherit if name.endswith("*"))
    inherited = {name: value for name, value in ours.items() if name in exact or name.startswith(prefixes)}
    return {**inherited, **(env or {})}
