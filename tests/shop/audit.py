"""What must be true of the shop in the end. The last line says what is not."""
import json
import os
import sqlite3
import sys

wrong = []
db = sqlite3.connect("shop.db")
if (state := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
    wrong.append(f"the store is damaged: {state}")
if os.path.exists("gateway.journal"):
    with open("gateway.journal") as file:
        entries = [json.loads(line) for line in file]
elif os.path.exists("gateway.json"):
    with open("gateway.json", errors="replace") as file:
        entries = json.load(file)
else:
    entries = []
for item, price, step in db.execute("SELECT id, price, step FROM items"):
    for path, what in (("/upload", "uploaded"), ("/campaign", "advertised")):
        found = [entry for entry in entries if entry["path"] == path and entry["id"] == item]
        if not found:
            wrong.append(f"item {item} was never {what}")
        elif len(found) > 1:
            wrong.append(f"item {item} was {what} {len(found)} times")
        elif found[0]["price"] != price:
            wrong.append(f"item {item} was {what} for {found[0]['price']} and costs {price}")
        elif found[0]["text"] != f"item {item} " * 20:
            wrong.append(f"item {item} was {what} with a damaged text")
    if step != 4:
        wrong.append(f"item {item} stopped at step {step}")
print("\n".join(wrong))
sys.exit(bool(wrong))
