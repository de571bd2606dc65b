"""The chat server that one writes first: asyncio streams, json, and a drain after every write (as a program too).

It speaks the founding line protocol: nick and msg, notices to the others. It is the lower bound of the race.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from bench.fanout.rivals import Rival, Site


class Room:
    """Everybody on the server."""

    def __init__(self) -> None:
        self.writers: dict[asyncio.StreamWriter, str] = {}

    async def tell(self, item: dict[str, object], but: asyncio.StreamWriter | None = None) -> None:
        """One line to everyone, one after the other."""
        line = json.dumps({**item, "ts": int(time.time())}).encode() + b"\n"
        for writer in list(self.writers):
            if writer is not but:
                writer.write(line)
                await writer.drain()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One guest, from the first line to the last."""
        self.writers[writer] = f"anon-{len(self.writers)}"
        try:
            while line := await reader.readline():
                item = json.loads(line)
                if item["type"] == "nick":
                    self.writers[writer] = item["nick"]
                    answer = {"type": "nick", "text": f"nick set to {item['nick']}", "ts": int(time.time())}
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
                    await self.tell({"type": "notice", "text": f"{item['nick']} joined"}, but=writer)
                elif item["type"] == "msg":
                    await self.tell({"type": "msg", "nick": self.writers[writer], "text": item["text"]})
                else:
                    writer.write(b'{"type":"error","text":"unknown type"}\n')
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            del self.writers[writer]
            writer.close()


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(Room().serve, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def _command(site: Site) -> list[str]:
    return [sys.executable, "-m", "bench.fanout.rivals.naive", str(site.port)]


RIVAL = Rival("asyncio streams", "naive", _command, lambda: None, presence=True)

if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
