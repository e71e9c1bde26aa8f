# Talks to an echo server with the package websockets: port, Host, and how it compresses.
import asyncio, sys, websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate

async def main():
    port, host, mode = sys.argv[1:4]
    more = {"deflate": dict(compression=None, extensions=[Deflate(client_no_context_takeover=True, client_max_window_bits=None)]),
            "default": dict(compression="deflate"), "plain": dict(compression=None)}[mode]
    list = ["hello", "", "é" * 70000, b"\0\xff\xfe", "x" * (1 << 20), b"\7" * (3 << 20)]
    async with websockets.connect("ws://" + host + "/ws/chat/1", host="127.0.0.1", port=int(port), max_size=None, proxy=None, **more) as ws:
        print("extension", str(bool(ws.protocol.extensions)).lower())
        pong = await ws.ping(b"beat")
        for m in list:
            await ws.send(m)
            assert await ws.recv() == m
        await ws.send(["in ", "parts"])
        assert await ws.recv() == "in parts"
        await pong
        await ws.close(4000, "done")
    print("close", ws.close_code, "messages", len(list), "pongs", 1)

asyncio.run(main())
