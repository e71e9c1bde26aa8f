# Talks to an echo server with the package websockets: URL and text, of several. See TestWebSocketClients.
import asyncio, sys, websockets

async def talk(url, text):
    try:
        async with websockets.connect(url) as ws:
            await ws.send(text)
            print("got", await ws.recv())
            await ws.close(4001, "enough")
        print("closed", ws.close_code, ws.close_reason)
    except websockets.ConnectionClosed as e:
        print("closed", e.rcvd.code, e.rcvd.reason)
    except websockets.InvalidStatus as e:
        print("answered", e.response.status_code, e.response.body.decode().replace("\n", " "))

async def main():
    for url, text in zip(sys.argv[1::2], sys.argv[2::2]):
        await talk(url, text)

asyncio.run(main())
