-- Phantom read
-- id: P06
-- what: A report counts the orders and then adds them up, and an order that comes in between is in the sum and not in
--       the count. At READ COMMITTED every statement has a snapshot of its own, so the same search finds new rows.
-- cure: REPEATABLE READ for whoever reads more than once: one snapshot for all reads.
-- relies: worker/database/transactions.py, jobs/orders/audit.py
-- harm: after: SELECT number, total FROM reports  -> (2, 130)

-- setup
CREATE TABLE orders (order_id INT PRIMARY KEY, total INT);
CREATE TABLE reports (number INT, total INT);
INSERT INTO orders VALUES (1, 10), (9, 90);

-- schedule: wrong
BEGIN;                                          -- T1
SELECT COUNT(*) INTO @number FROM orders;       -- T1
INSERT INTO orders VALUES (5, 30);              -- T2
SELECT SUM(total) INTO @total FROM orders;      -- T1
INSERT INTO reports VALUES (@number, @total);   -- T1
COMMIT;                                         -- T1
SELECT number, total FROM reports;              -- after

-- schedule: right
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;   -- T1
BEGIN;                                             -- T1
SELECT COUNT(*) INTO @number FROM orders;          -- T1
INSERT INTO orders VALUES (5, 30);                 -- T2
SELECT SUM(total) INTO @total FROM orders;         -- T1
INSERT INTO reports VALUES (@number, @total);      -- T1
COMMIT;                                            -- T1
SELECT number, total FROM reports;                 -- after
