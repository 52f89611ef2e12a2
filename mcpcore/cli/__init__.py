"""The command line: `mcpcore run`, `mcpcore list`, `mcpcore call`, `mcpcore bridge`. Importing this imports none of it.

usage release             what a wrong command line is; which release this is
flags access              how a server is served over HTTP; the log of its requests
source target             where a server is: in a Python file or module, behind a command or URL, in a configuration
render progress question  what is shown on a terminal, and asked there
ending                    exit codes, and what is said about a command line or file that is wrong
visit served              one connection of a client, or a server, from start to exit code
run list call bridge      the commands
main                      argparse
"""

__all__ = ()
