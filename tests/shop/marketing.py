"""The marketing agent: starts a campaign for each item that was handed over."""
import time

import store

db = store.connect()
while not store.all_at(db, 4):
    items = store.lease(db, (3,))
    # Those that are damaged go back to the product agents, who hand them over again.
    damaged = set()
    for item, *_ in items:
        store.say("item", item)
        body = store.taken_over(item)
        if body is None:
            damaged.add(item)
            continue
        store.post("/campaign", dict(body, id=item))
        time.sleep(0.05)
    for item, _, _, token in items:
        store.checkpoint(db, item, token, 2 if item in damaged else 4, done=True)
    if not items:
        store.wait()
