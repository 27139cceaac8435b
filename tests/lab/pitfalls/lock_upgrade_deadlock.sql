-- Lock upgrade deadlock: from shared to exclusive
-- id: P39
-- what: Two transactions read a row with a shared lock, which both may hold, and then update it. Each needs the other's
--       shared lock to go before its own can become exclusive.
-- cure: Read FOR UPDATE what is going to be changed: the second one waits before it has read anything.
-- relies: sql/orders/locks.sql, jobs/orders/locks.py
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, quantity INT);
INSERT INTO stock VALUES (1, 10);

-- schedule: wrong
BEGIN;                                                        -- T1
BEGIN;                                                        -- T2
SELECT quantity FROM stock WHERE id = 1 LOCK IN SHARE MODE;   -- T1
SELECT quantity FROM stock WHERE id = 1 LOCK IN SHARE MODE;   -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;        -- T1
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;        -- T2
COMMIT;                                                       -- T1
COMMIT;                                                       -- T2
SELECT quantity FROM stock WHERE id = 1;                      -- after

-- schedule: right
BEGIN;                                                        -- T1
BEGIN;                                                        -- T2
SELECT quantity FROM stock WHERE id = 1 FOR UPDATE;           -- T1
SELECT quantity FROM stock WHERE id = 1 FOR UPDATE;           -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;        -- T1
COMMIT;                                                       -- T1
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;        -- T2
COMMIT;                                                       -- T2
SELECT quantity FROM stock WHERE id = 1;                      -- after
