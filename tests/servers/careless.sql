-- As pgbench books it, but not in a transaction: a kill between two of these leaves the books uneven.
\set account random(1, 100000)
\set teller random(1, 10)
\set delta random(-5000, 5000)
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :account;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :teller;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO pgbench_history(tid, bid, aid, delta, mtime) VALUES (:teller, 1, :account, :delta, CURRENT_TIMESTAMP);
