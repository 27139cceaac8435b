-- Deadlock of two indexes: ORDER BY does not order the locks
-- id: P22
-- what: A locking read says ORDER BY id, but it reads through another index and locks each row as it meets it; the
--       sort comes afterwards. So it locks downwards what another transaction locks upwards, and that is a deadlock.
-- cure: Make the plan lock in the order of the primary key (FORCE INDEX), and do not trust ORDER BY to do it.
-- relies: sql/orders/locks.sql, jobs/orders/locks.py
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, shelf INT, quantity INT, INDEX by_shelf (shelf));
INSERT INTO stock VALUES (1, 30, 10), (2, 20, 10), (3, 10, 10);

-- schedule: wrong
BEGIN;                                                                                -- T1
BEGIN;                                                                                -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;                                -- T1
SELECT id FROM stock FORCE INDEX (by_shelf) WHERE shelf > 0 ORDER BY id FOR UPDATE;   -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 3;                                -- T1
COMMIT;                                                                               -- T1
COMMIT;                                                                               -- T2
SELECT id, quantity FROM stock;                                                       -- after

-- schedule: right
BEGIN;                                                                                -- T1
BEGIN;                                                                                -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;                                -- T1
SELECT id FROM stock FORCE INDEX (PRIMARY) WHERE shelf > 0 ORDER BY id FOR UPDATE;    -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 3;                                -- T1
COMMIT;                                                                               -- T1
COMMIT;                                                                               -- T2
SELECT id, quantity FROM stock;                                                       -- after
