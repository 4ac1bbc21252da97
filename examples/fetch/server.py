"""A server that takes half a second to answer any request, and counts them: ``python server.py SECONDS``.

It prints its port in the first line. ``GET /count`` is answered at once with how many requests there were.
"""

import asyncio
import sys


class Pages:
    """Answers with the path, late."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.served = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        if path == "/count":
            body = str(self.served)
        else:
            await asyncio.sleep(self.delay)
            self.served += 1
            body = f"page {path}"
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()


async def main(delay: float) -> None:
    """Serve on a free port of the loopback interface until the process is ended."""
    server = await asyncio.start_server(Pages(delay).serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
