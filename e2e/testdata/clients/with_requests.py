# Speaks HTTP with the package requests: version, base. See httpClients.
import os, sys, requests
from concurrent.futures import ThreadPoolExecutor

version, base = sys.argv[1:]
s = requests.Session()

def show(what, r):
    print(what, r.status_code, {10: "1.0", 11: "1.1"}[r.raw.version], r.text.replace("\n", " "), flush=True)

def parts():
    for _ in range(30):
        yield b"x" * 10000

show("get", s.get(base + "/public/get", headers={"X-Token": os.environ["TOKEN"]}))
show("denied", s.get(base + "/secret"))
show("post", s.post(base + "/public/post", data=parts()))
show("host", s.get(base.replace("ok.", "no.") + "/"))
with ThreadPoolExecutor(16) as pool:
    print("many", sum(r.ok for r in pool.map(s.get, [base + "/public/many"] * 16)))
