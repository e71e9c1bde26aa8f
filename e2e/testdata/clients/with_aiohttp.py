# Speaks HTTP with the package aiohttp: version, base. See httpClients.
import asyncio, os, sys, aiohttp

version, base = sys.argv[1:]

async def show(what, asked):
    async with asked as r:
        print(what, r.status, f"{r.version.major}.{r.version.minor}", (await r.text()).replace("\n", " "), flush=True)

async def parts():
    for _ in range(30):
        yield b"x" * 10000

async def ok(s):
    async with s.get(base + "/public/many") as r:
        await r.read()
        return r.ok

async def main():
    async with aiohttp.ClientSession() as s:
        await show("get", s.get(base + "/public/get", headers={"X-Token": os.environ["TOKEN"]}))
        await show("denied", s.get(base + "/secret"))
        await show("post", s.post(base + "/public/post", data=parts()))
        await show("host", s.get(base.replace("ok.", "no.") + "/"))
        print("many", sum(await asyncio.gather(*(ok(s) for _ in range(16)))))

asyncio.run(main())
