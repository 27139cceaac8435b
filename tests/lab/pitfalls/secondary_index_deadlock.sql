-- Deadlock of a secondary index and the primary key
-- id: P25
-- what: A search through a secondary index locks the index entry first and the row second; an update of the indexed
--       column, found by its id, locks the row first and the entry second. Two statements on one row are a deadlock.
-- cure: Look the ids up without a lock, before the transaction; then lock by primary key, and force it: with the status
--       in the condition, MariaDB 10.11 takes the status index though the id is given. Or have no such index.
-- relies: sql/orders/locks.sql, sql/migrations/20261122130000_create_orders.sql
-- harm: <error 1213>

-- setup
CREATE TABLE orders (id INT PRIMARY KEY, status VARCHAR(10), note VARCHAR(10), INDEX by_status (status));
INSERT INTO orders VALUES (1, 'new', ''), (2, 'paid', ''), (3, 'paid', '');

-- schedule: wrong
BEGIN;                                                                                      -- T1
BEGIN;                                                                                      -- T2
SELECT note FROM orders WHERE id = 1 FOR UPDATE;                                            -- T2
UPDATE orders FORCE INDEX (by_status) SET note = 'overdue' WHERE status = 'new';            -- T1
UPDATE orders SET status = 'paid' WHERE id = 1;                                             -- T2
COMMIT;                                                                                     -- T2
COMMIT;                                                                                     -- T1
SELECT id, status, note FROM orders WHERE id = 1;                                           -- after

-- schedule: right
SELECT id FROM orders WHERE status = 'new';                                                 -- T1
BEGIN;                                                                                      -- T1
BEGIN;                                                                                      -- T2
SELECT note FROM orders WHERE id = 1 FOR UPDATE;                                            -- T2
UPDATE orders FORCE INDEX (PRIMARY) SET note = 'overdue' WHERE id = 1 AND status = 'new';   -- T1
UPDATE orders SET status = 'paid' WHERE id = 1;                                             -- T2
COMMIT;                                                                                     -- T2
COMMIT;                                                                                     -- T1
SELECT id, status, note FROM orders WHERE id = 1;                                           -- after
