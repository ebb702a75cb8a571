"""What must be true of the shop in the end. The last line says what is not."""
import json
import sqlite3
import sys

wrong, entries = [], []
db = sqlite3.connect("shop.db")
if (state := db.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
    wrong.append(f"the store is damaged: {state}")
with open("gateway.journal", errors="replace") as file:
    for number, line in enumerate(file, 1):
        try:
            entries.append(json.loads(line))
        except ValueError:
            wrong.append(f"line {number} of the gateway's journal is damaged")
for item, price, step in db.execute("SELECT id, price, step FROM items"):
    if step != 4:
        wrong.append(f"item {item} stopped at step {step}")
    for path, what in (("/upload", "uploaded"), ("/campaign", "advertised")):
        found = [entry for entry in entries if entry["path"] == path and entry.get("id") == item]
        if not found:
            wrong.append(f"item {item} was never {what}")
        elif len(found) > 1:
            wrong.append(f"item {item} was {what} {len(found)} times")
        elif (said := found[0].get("price")) != price:
            wrong.append(f"item {item} was {what} for {said} and costs {price}")
        elif found[0].get("text") != f"item {item} " * 20:
            wrong.append(f"item {item} was {what} with a damaged text")
print("\n".join(wrong))
sys.exit(bool(wrong))
