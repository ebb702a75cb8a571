"""The marketing agent: starts a campaign for each item that was handed over."""
import time

import store

db = store.connect()
while not store.all_at(db, 4):
    work = store.lease(db, (3,))
    if not work:
        store.wait()
        continue
    item, _, _, token = work
    store.say("item", item)
    body = store.taken_over(item)
    if body is None:
        # Damaged: back to the product agents, who hand it over again.
        store.checkpoint(db, item, token, 2, done=True)
        continue
    store.post("/campaign", dict(body, id=item))
    time.sleep(0.05)
    store.checkpoint(db, item, token, 4, done=True)
