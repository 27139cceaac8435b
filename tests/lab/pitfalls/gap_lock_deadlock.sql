-- Gap lock deadlock: look with FOR UPDATE, then insert
-- id: P26
-- what: FOR UPDATE on a missing row locks the gap where it would be, and two transactions may hold the same gap. Then
--       each one's INSERT waits for the other's gap lock, and one of them gets error 1213.
-- cure: Insert first and let the primary key decide: the second one waits, and error 1062 tells it that the row is
--       there.
-- relies: jobs/orders/place_orders.py, jobs/orders/restock.py
-- harm: <error 1213>

-- setup
CREATE TABLE orders (id INT PRIMARY KEY, total INT);
INSERT INTO orders VALUES (1, 10), (5, 50);

-- schedule: wrong
BEGIN;                                              -- T1
BEGIN;                                              -- T2
SELECT total FROM orders WHERE id = 3 FOR UPDATE;   -- T1
SELECT total FROM orders WHERE id = 3 FOR UPDATE;   -- T2
INSERT INTO orders VALUES (3, 30);                  -- T1
INSERT INTO orders VALUES (3, 30);                  -- T2
COMMIT;                                             -- T1
ROLLBACK;                                           -- T2
SELECT id, total FROM orders;                       -- after

-- schedule: right
BEGIN;                                              -- T1
BEGIN;                                              -- T2
INSERT INTO orders VALUES (3, 30);                  -- T1
INSERT INTO orders VALUES (3, 30);                  -- T2
COMMIT;                                             -- T1
ROLLBACK;                                           -- T2
SELECT total FROM orders WHERE id = 3;              -- T2
SELECT id, total FROM orders;                       -- after
