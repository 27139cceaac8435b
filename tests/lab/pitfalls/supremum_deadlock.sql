-- Supremum deadlock: new ids at the end of the table
-- id: P27
-- what: Beyond the last row there is one gap for all ids to come, up to the page's supremum. Two transactions that look
--       for different new ids with FOR UPDATE share it, and their INSERTs, which have nothing in common, deadlock.
-- cure: Insert at once, without a locking look for a row that is expected to be missing.
-- relies: jobs/orders/place_orders.py, jobs/orders/restock.py
-- harm: <error 1213>

-- setup
CREATE TABLE orders (id INT PRIMARY KEY, total INT);
INSERT INTO orders VALUES (1, 10), (5, 50);

-- schedule: wrong
BEGIN;                                                -- T1
BEGIN;                                                -- T2
SELECT total FROM orders WHERE id = 100 FOR UPDATE;   -- T1
SELECT total FROM orders WHERE id = 101 FOR UPDATE;   -- T2
INSERT INTO orders VALUES (100, 30);                  -- T1
INSERT INTO orders VALUES (101, 30);                  -- T2
COMMIT;                                               -- T1
COMMIT;                                               -- T2
SELECT id, total FROM orders;                         -- after

-- schedule: right
BEGIN;                                                -- T1
BEGIN;                                                -- T2
INSERT INTO orders VALUES (100, 30);                  -- T1
INSERT INTO orders VALUES (101, 30);                  -- T2
COMMIT;                                               -- T1
COMMIT;                                               -- T2
SELECT id, total FROM orders;                         -- after
