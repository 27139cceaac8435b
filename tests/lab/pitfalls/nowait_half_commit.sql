-- NOWAIT, caught by the wrong number, commits half
-- id: P47
-- what: A lock that NOWAIT does not get is error 1205 on MariaDB and 3572 on MySQL, and neither ends the transaction.
--       Code that knows one number only, or that goes on after the other, commits the half that came before it.
-- cure: Know both numbers; roll back after either, and begin the whole transaction again.
-- relies: worker/database/retry.py, worker/database/connections.py
-- harm: after: SELECT id, available FROM stock  -> (1, 10) (2, 17)

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                                                       -- T1
SELECT available FROM stock WHERE id = 1 FOR UPDATE;         -- T1
BEGIN;                                                       -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;     -- T2
SELECT available FROM stock WHERE id = 1 FOR UPDATE NOWAIT;  -- T2
COMMIT;                                                      -- T2
COMMIT;                                                      -- T1
SELECT id, available FROM stock;                             -- after

-- schedule: right
BEGIN;                                                       -- T1
SELECT available FROM stock WHERE id = 1 FOR UPDATE;         -- T1
BEGIN;                                                       -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;     -- T2
SELECT available FROM stock WHERE id = 1 FOR UPDATE NOWAIT;  -- T2
ROLLBACK;                                                    -- T2
COMMIT;                                                      -- T1
BEGIN;                                                       -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;     -- T2
SELECT available FROM stock WHERE id = 1 FOR UPDATE NOWAIT;  -- T2
UPDATE stock SET available = available - 3 WHERE id = 1;     -- T2
COMMIT;                                                      -- T2
SELECT id, available FROM stock;                             -- after
