"""A product agent: describes an item, uploads it, hands it over. Steps: 1 described, 2 uploaded, 3 handed over; 4 is the
campaign, after which there is nothing more to do."""
import time

import store

db = store.connect()


def work(item, price, step, token):
    store.say("item", item, "from step", step)
    body = {"id": item, "price": price, "text": f"item {item} " * 20}
    # The careless one begins anew whenever it begins.
    if step < 1 or not store.CAREFUL:
        time.sleep(0.01)
        if store.CAREFUL and not store.checkpoint(db, item, token, 1):
            return
    if step < 2 or not store.CAREFUL:
        store.post("/upload", body)
        time.sleep(0.08)
        if store.CAREFUL and not store.checkpoint(db, item, token, 2):
            return
    store.hand_over(body)
    time.sleep(0.02)


while not store.all_at(db, 4 if store.CAREFUL else 3):
    items = store.lease(db, (0, 1, 2))
    for item in items:
        work(*item)
    for item, _, _, token in items:
        store.checkpoint(db, item, token, 3, done=True)
    if not items:
        store.wait()
