"""The store: items with their leases and checkpoints, in SQLite; and how agents talk to the gateway and hand over.

Careful: each step is committed, a lease is dated by a clock that does not jump and is renewed by each step, and its token
tells a late worker that somebody else has taken over. Careless: none of this; it takes all that there is at once, and
notes what it did when it has done all of it."""
import hashlib
import http.client
import json
import os
import sqlite3
import sys
import time

NAME, PORT, CAREFUL = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "careful"
ITEMS = 16
AT_ONCE, LEASE, PATIENCE = (1, 2.0, 30) if CAREFUL else (ITEMS, 3.0, 8)
idle_since = time.monotonic()


def now():
    return time.monotonic() if CAREFUL else time.time()


def say(*words):
    """A line of the log, with the time of day."""
    print(time.strftime("%X"), NAME, *words, flush=True)


def connect():
    os.makedirs("handoff", exist_ok=True)
    db = sqlite3.connect("shop.db", timeout=20, isolation_level=None)
    for left in reversed(range(100)):
        # SQLite does not wait for others here, whatever the timeout says.
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            if left == 0:
                raise
            time.sleep(0.02)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")
    db.execute("CREATE TABLE IF NOT EXISTS items(id INTEGER PRIMARY KEY, price INTEGER, step INTEGER DEFAULT 0,"
               " owner TEXT, token INTEGER DEFAULT 0, until REAL DEFAULT 0)")
    if not db.execute("SELECT count(*) FROM items").fetchone()[0]:
        db.executemany("INSERT INTO items(id, price) VALUES (?, ?)", [(n, 100 + n) for n in range(1, ITEMS + 1)])
    db.execute("COMMIT")
    return db


def lease(db, steps):
    """Items that stand at one of these steps: [(id, price, step, token)]. One's own of before a restart too."""
    global idle_since
    db.execute("BEGIN IMMEDIATE")
    marks = ",".join("?" * len(steps))
    rows = db.execute(f"SELECT id, price, step, token + 1 FROM items WHERE step IN ({marks})"
                      " AND (until < ? OR owner = ?) ORDER BY id LIMIT ?", (*steps, now(), NAME, AT_ONCE)).fetchall()
    db.executemany("UPDATE items SET owner = ?, token = ?, until = ? WHERE id = ?",
                   [(NAME, token, now() + LEASE, item) for item, _, _, token in rows])
    db.execute("COMMIT")
    if rows:
        idle_since = time.monotonic()
    return rows


def checkpoint(db, item, token, step, done=False):
    """Notes that a step is done; False when somebody else has the item by now."""
    where, until = ("AND token = ?", (token,)) if CAREFUL else ("", ())
    return db.execute(f"UPDATE items SET step = ?, until = ? WHERE id = ? {where}",
                      (step, 0 if done else now() + LEASE, item, *until)).rowcount == 1


def wait():
    """There is nothing to do for the moment; but not for ever."""
    if time.monotonic() - idle_since > PATIENCE:
        sys.exit(f"{NAME} gave up: there was nothing to do for {PATIENCE} s")
    time.sleep(0.05)


def all_at(db, step):
    return not db.execute("SELECT count(*) FROM items WHERE step < ?", (step,)).fetchone()[0]


def post(path, body):
    """Tells the gateway; the careful agent again and again, with a key by which it knows that it is the same thing."""
    pause = 0.05
    for left in reversed(range(12 if CAREFUL else 1)):
        try:
            link = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
            try:
                link.request("POST", path, json.dumps(dict(body, key=f"{path}/{body['id']}") if CAREFUL else body))
                reply = link.getresponse()
                reply.read()
                if reply.status == 200:
                    return
                raise OSError(f"status {reply.status}")
            finally:
                link.close()
        except (OSError, http.client.HTTPException):
            if left == 0:
                raise
            time.sleep(pause)
            pause = min(pause * 2, 1)


def digest(body):
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def hand_over(body):
    path = f"handoff/{body['id']}.json"
    if not CAREFUL:
        with open(path, "w") as file:
            json.dump(body, file)
        return
    # Whole or not at all, and told from what is damaged.
    new = f"handoff/.{NAME}-{body['id']}.json"
    with open(new, "w") as file:
        json.dump(dict(body, digest=digest(body)), file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)


def taken_over(item):
    """What was handed over, or None when it is damaged; the careless one makes do with what it can read."""
    try:
        with open(f"handoff/{item}.json", errors="replace") as file:
            body = json.load(file)
    except (OSError, ValueError):
        return None if CAREFUL else {"id": item, "price": 0, "text": ""}
    if CAREFUL and body.pop("digest", None) != digest(body):
        return None
    return body
