-- Supremum lock: a look for one missing order stops all new ones
-- id: P28
-- what: FOR UPDATE on an id that is not there, beyond the last row, locks the rest of the table's key range. Until its
--       transaction ends, nobody can insert a row at the end, whatever its id.
-- cure: Find out whether the row exists by a plain SELECT outside of the transaction; lock only what is known to exist.
-- relies: jobs/orders/cancel_order.py, jobs/orders/known_orders.py, sql/orders/locks.sql
-- harm: T2: INSERT INTO orders VALUES (7, 70)  <waits>

-- setup
CREATE TABLE orders (id INT PRIMARY KEY, total INT);
INSERT INTO orders VALUES (1, 10), (5, 50);

-- schedule: wrong
BEGIN;                                                 -- T1
SELECT total FROM orders WHERE id = 1000 FOR UPDATE;   -- T1
INSERT INTO orders VALUES (7, 70);                     -- T2
ROLLBACK;                                              -- T1
SELECT id, total FROM orders;                          -- after

-- schedule: right
SELECT total FROM orders WHERE id = 1000;              -- T1
INSERT INTO orders VALUES (7, 70);                     -- T2
SELECT id, total FROM orders;                          -- after
