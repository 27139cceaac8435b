-- Read skew
-- id: P09
-- what: A report reads one warehouse before a transfer and the other one after it, and counts five pieces twice. At
--       READ COMMITTED each statement sees what is committed when it begins, so two statements can see two states.
-- cure: REPEATABLE READ for whoever reads more than once, or one statement for all of it.
-- relies: worker/database/transactions.py, jobs/orders/audit.py
-- harm: after: SELECT total FROM reports  -> (35)

-- setup
CREATE TABLE stock (warehouse INT PRIMARY KEY, available INT);
CREATE TABLE reports (total INT);
INSERT INTO stock VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                                                            -- T1
SELECT available INTO @here FROM stock WHERE warehouse = 1;       -- T1
BEGIN;                                                            -- T2
UPDATE stock SET available = available - 5 WHERE warehouse = 1;   -- T2
UPDATE stock SET available = available + 5 WHERE warehouse = 2;   -- T2
COMMIT;                                                           -- T2
SELECT available INTO @there FROM stock WHERE warehouse = 2;      -- T1
INSERT INTO reports VALUES (@here + @there);                      -- T1
COMMIT;                                                           -- T1
SELECT total FROM reports;                                        -- after

-- schedule: right
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;                  -- T1
BEGIN;                                                            -- T1
SELECT available INTO @here FROM stock WHERE warehouse = 1;       -- T1
BEGIN;                                                            -- T2
UPDATE stock SET available = available - 5 WHERE warehouse = 1;   -- T2
UPDATE stock SET available = available + 5 WHERE warehouse = 2;   -- T2
COMMIT;                                                           -- T2
SELECT available INTO @there FROM stock WHERE warehouse = 2;      -- T1
INSERT INTO reports VALUES (@here + @there);                      -- T1
COMMIT;                                                           -- T1
SELECT total FROM reports;                                        -- after
