"""The command line: `mcpcore run`, `mcpcore list`, `mcpcore call`. Importing this imports none of it.

usage release             what a wrong command line is; what this release has
source target             where a server is: in a Python file or module, behind a command, in a configuration
render progress question  what is shown on a terminal, and asked there
visit                     one connection of a client, from start to exit code
run list call             the commands
main                      argparse, and the exit codes
"""

__all__ = ()
