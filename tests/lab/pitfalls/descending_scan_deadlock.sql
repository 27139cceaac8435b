-- Deadlock of an ascending and a descending scan
-- id: P23
-- what: One transaction locks its rows upwards, the other reads the same rows with ORDER BY id DESC FOR UPDATE and so
--       locks them downwards. They meet in the middle, and the server rolls one of them back.
-- cure: Every locking read of several rows goes upwards; turn the result round in the program.
-- relies: sql/orders/locks.sql, jobs/orders/locks.py
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, quantity INT);
INSERT INTO stock VALUES (1, 10), (2, 10);

-- schedule: wrong
BEGIN;                                                                 -- T1
BEGIN;                                                                 -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;                 -- T1
SELECT id FROM stock WHERE id IN (1, 2) ORDER BY id DESC FOR UPDATE;   -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 2;                 -- T1
COMMIT;                                                                -- T1
COMMIT;                                                                -- T2
SELECT id, quantity FROM stock;                                        -- after

-- schedule: right
BEGIN;                                                                 -- T1
BEGIN;                                                                 -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;                 -- T1
SELECT id FROM stock WHERE id IN (1, 2) ORDER BY id ASC FOR UPDATE;    -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 2;                 -- T1
COMMIT;                                                                -- T1
COMMIT;                                                                -- T2
SELECT id, quantity FROM stock;                                        -- after
