"""`official.py` over HTTP: Streamable HTTP at /mcp, or HTTP+SSE at /sse; says its port on stdout when it listens."""

import socket
import sys

import uvicorn
from official import server

if __name__ == "__main__":
    how = sys.argv[1]
    if how == "sse":
        app = server.sse_app()
    else:
        app = server.streamable_http_app(json_response=how == "json", stateless_http=how == "stateless")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])
