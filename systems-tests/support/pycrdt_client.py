"""A stock client in Python: pycrdt's own provider over the package `websockets`.

    pycrdt_client.py URL TOKEN OWN_SHARD OTHER_SHARD < CELL ...    cells to write, one a line, hexadecimal

It writes the cells into its own shard, prints a line `written`, deletes the first of them, and follows the other shard: each time that one
changes it prints all its cells as JSON. It ends when it is killed.
"""

import asyncio
import json
import sys

from pycrdt import Array, Doc, Provider
from websockets.asyncio.client import connect


class WebSocketChannel:
    def __init__(self, socket, path):
        self.socket = socket
        self.path = path

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await self.recv()

    async def send(self, message):
        await self.socket.send(message)

    async def recv(self):
        return await self.socket.recv()


async def follow(url, token, shard, use):
    async with connect(f"{url}/yjs/{shard}?token={token}", max_size=None) as socket:
        doc = Doc()
        cells = doc.get("cells", type=Array)
        async with Provider(doc, WebSocketChannel(socket, shard)) as provider:
            await provider.synced.wait()
            await use(cells)


async def main(url, token, own, other):
    given = [bytes.fromhex(line.strip()) for line in sys.stdin]

    async def write(cells):
        cells.extend(given)
        print("written", flush=True)
        await asyncio.sleep(0.5)
        # By what it holds: the store may have put a cell of its own before it.
        del cells[[bytes(cell) for cell in cells].index(given[0])]
        await asyncio.Event().wait()

    async def watch(cells):
        shown = None
        while True:
            contents = sorted(cell.hex() for cell in cells)
            if contents != shown:
                print(json.dumps(contents), flush=True)
                shown = contents
            await asyncio.sleep(0.05)

    await asyncio.gather(follow(url, token, own, write), follow(url, token, other, watch))


asyncio.run(main(*sys.argv[1:]))
