-- Write skew
-- id: P11
-- what: Ten pieces must stay in the two warehouses together; two transactions see 20, each takes ten from another
--       warehouse, and nothing is left. They write different rows, so neither REPEATABLE READ nor
--       innodb_snapshot_isolation sees a conflict: only SERIALIZABLE does.
-- cure: Lock with FOR UPDATE all that the decision is read from, or use SERIALIZABLE and a retry.
-- relies: jobs/orders/locks.py, sql/orders/locks.sql
-- harm: after: SELECT SUM(available) FROM stock  -> (0)

-- setup
CREATE TABLE stock (warehouse INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10), (2, 10);

-- schedule: wrong
BEGIN;                                                                              -- T1
BEGIN;                                                                              -- T2
SELECT SUM(available) INTO @total FROM stock;                                       -- T1
SELECT SUM(available) INTO @total FROM stock;                                       -- T2
UPDATE stock SET available = available - 10 WHERE warehouse = 1 AND @total >= 20;   -- T1
UPDATE stock SET available = available - 10 WHERE warehouse = 2 AND @total >= 20;   -- T2
COMMIT;                                                                             -- T1
COMMIT;                                                                             -- T2
SELECT SUM(available) FROM stock;                                                   -- after

-- schedule: right
BEGIN;                                                                              -- T1
BEGIN;                                                                              -- T2
SELECT SUM(available) INTO @total FROM stock FOR UPDATE;                            -- T1
SELECT SUM(available) INTO @total FROM stock FOR UPDATE;                            -- T2
UPDATE stock SET available = available - 10 WHERE warehouse = 1 AND @total >= 20;   -- T1
UPDATE stock SET available = available - 10 WHERE warehouse = 2 AND @total >= 20;   -- T2
COMMIT;                                                                             -- T1
COMMIT;                                                                             -- T2
SELECT SUM(available) FROM stock;                                                   -- after
