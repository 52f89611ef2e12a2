"""`python -m mcpcore` is the same program as `mcpcore`."""

import sys

from mcpcore.cli.main import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())
