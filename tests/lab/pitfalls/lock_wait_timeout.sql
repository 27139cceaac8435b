-- Lock wait timeout, then COMMIT
-- id: P53
-- what: Error 1205 undoes the statement that waited and nothing else: the transaction stays open, with all it did
--       before. Code that takes it for a rollback and commits has made half an order durable.
-- cure: ROLLBACK after 1205, and the whole transaction again from its first statement.
-- relies: worker/database/transactions.py, worker/database/connections.py, worker/database/retry.py
-- harm: after: SELECT id, available FROM stock  -> (1, 10) (2, 17)

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10), (2, 20);

-- schedule: wrong
SET SESSION innodb_lock_wait_timeout = 1;                  -- T2
BEGIN;                                                     -- T1
UPDATE stock SET available = available - 1 WHERE id = 1;   -- T1
BEGIN;                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;   -- T2
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T2
COMMIT;                                                    -- T2
SELECT id, available FROM stock;                           -- after

-- schedule: right
SET SESSION innodb_lock_wait_timeout = 1;                  -- T2
BEGIN;                                                     -- T1
UPDATE stock SET available = available - 1 WHERE id = 1;   -- T1
BEGIN;                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;   -- T2
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T2
ROLLBACK;                                                  -- T2
SELECT id, available FROM stock;                           -- after
COMMIT;                                                    -- T1
BEGIN;                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;   -- T2
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T2
COMMIT;                                                    -- T2
SELECT id, available FROM stock;                           -- after
