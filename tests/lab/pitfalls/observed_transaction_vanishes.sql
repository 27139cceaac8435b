-- Observed transaction vanishes
-- id: P05
-- what: Two transfers between warehouses leave 30 pieces in all, yet a report counts 31: it sees one row as the first
--       transfer committed it, and the other as the second transfer is just overwriting it. At READ UNCOMMITTED a
--       committed transaction that was seen in one row is gone from the next.
-- cure: READ COMMITTED or a higher level: one statement then sees each transaction in full, or not at all.
-- relies: worker/database/transactions.py
-- harm: after: SELECT total FROM reports  -> (31)

-- setup
CREATE TABLE stock (warehouse INT PRIMARY KEY, available INT);
CREATE TABLE reports (total INT);
INSERT INTO stock VALUES (1, 10), (2, 20);

-- schedule: wrong
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;      -- T3
BEGIN;                                                 -- T1
BEGIN;                                                 -- T2
BEGIN;                                                 -- T3
UPDATE stock SET available = 11 WHERE warehouse = 1;   -- T1
UPDATE stock SET available = 19 WHERE warehouse = 2;   -- T1
UPDATE stock SET available = 12 WHERE warehouse = 1;   -- T2
COMMIT;                                                -- T1
SELECT SUM(available) INTO @total FROM stock;          -- T3
UPDATE stock SET available = 18 WHERE warehouse = 2;   -- T2
COMMIT;                                                -- T2
INSERT INTO reports VALUES (@total);                   -- T3
COMMIT;                                                -- T3
SELECT total FROM reports;                             -- after

-- schedule: right
BEGIN;                                                 -- T1
BEGIN;                                                 -- T2
BEGIN;                                                 -- T3
UPDATE stock SET available = 11 WHERE warehouse = 1;   -- T1
UPDATE stock SET available = 19 WHERE warehouse = 2;   -- T1
UPDATE stock SET available = 12 WHERE warehouse = 1;   -- T2
COMMIT;                                                -- T1
SELECT SUM(available) INTO @total FROM stock;          -- T3
UPDATE stock SET available = 18 WHERE warehouse = 2;   -- T2
COMMIT;                                                -- T2
INSERT INTO reports VALUES (@total);                   -- T3
COMMIT;                                                -- T3
SELECT total FROM reports;                             -- after
