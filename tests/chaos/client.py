"""Fetches eight documents and writes them down: `client.py GUARD PORT`. GUARD is the one thing that it does against
faults: retry, timeout, breaker, limiter; with `no-` before it, it does not. All but no-retry try again."""
import http.client
import json
import os
import sys
import time

GUARD, PORT = sys.argv[1], int(sys.argv[2])
ATTEMPTS = 1 if GUARD == "no-retry" else 2000
longest, failures, last = 0.0, 0, 0.0


def fetch(number):
    link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=0.5 if GUARD == "timeout" else None)
    try:
        link.request("GET", f"/{number}")
        answer = link.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
    finally:
        link.close()
    document = json.loads(body)
    if sum(map(ord, document["text"])) != document["sum"] or document["number"] != number:
        raise OSError("the document is damaged")
    return body


def save(number, body):
    with open(f"got/{number}.json", "wb") as file:
        file.write(body)


def guarded(act):
    global longest, failures, last
    pause = 0.005
    for left in reversed(range(ATTEMPTS)):
        if GUARD == "breaker" and failures >= 3:
            time.sleep(0.4)
        if GUARD == "limiter":
            time.sleep(max(0, last + 0.25 - time.monotonic()))
        last = time.monotonic()
        try:
            done = act()
            failures = 0
            return done
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            failures += 1
            if left == 0:
                sys.exit(f"gave up: {error}")
        finally:
            longest = max(longest, time.monotonic() - last)
        if GUARD == "retry":
            pause = min(pause * 2, 0.2)
        time.sleep(pause)


os.makedirs("got", exist_ok=True)
for number in range(1, 9):
    body = guarded(lambda: fetch(number))
    guarded(lambda: save(number, body))
print(f"longest {longest:.3f}")
