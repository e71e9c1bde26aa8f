# Speaks HTTP with the package httpx: version, base. See httpClients.
import asyncio, os, sys, httpx

version, base = sys.argv[1:]

def show(what, r):
    print(what, r.status_code, r.http_version.removeprefix("HTTP/"), r.text.replace("\n", " "), flush=True)

async def parts():
    for _ in range(30):
        yield b"x" * 10000

async def main():
    async with httpx.AsyncClient(http2=version == "2", http1=version != "2") as c:
        show("get", await c.get(base + "/public/get", headers={"X-Token": os.environ["TOKEN"]}))
        show("denied", await c.get(base + "/secret"))
        show("post", await c.post(base + "/public/post", content=parts()))
        show("host", await c.get(base.replace("ok.", "no.") + "/"))
        print("many", sum(r.is_success for r in await asyncio.gather(*(c.get(base + "/public/many") for _ in range(16)))))

asyncio.run(main())
