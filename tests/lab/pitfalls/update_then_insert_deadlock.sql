-- Deadlock of an upsert by hand
-- id: P29
-- what: An UPDATE that finds no row locks the gap, like a locking read does. Two transactions that fall back on INSERT
--       then wait for each other's gap, though their products differ.
-- cure: INSERT ... ON DUPLICATE KEY UPDATE, which needs no gap lock to insert a new row.
-- relies: sql/orders/stock.sql, sql/orders/customers.sql
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, quantity INT);
INSERT INTO stock VALUES (1, 10), (5, 10);

-- schedule: wrong
BEGIN;                                                                             -- T1
BEGIN;                                                                             -- T2
UPDATE stock SET quantity = quantity + 7 WHERE id = 2;                             -- T1
UPDATE stock SET quantity = quantity + 7 WHERE id = 3;                             -- T2
INSERT INTO stock VALUES (2, 7);                                                   -- T1
INSERT INTO stock VALUES (3, 7);                                                   -- T2
COMMIT;                                                                            -- T1
COMMIT;                                                                            -- T2
SELECT id, quantity FROM stock;                                                    -- after

-- schedule: right
BEGIN;                                                                             -- T1
BEGIN;                                                                             -- T2
INSERT INTO stock VALUES (2, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T1
INSERT INTO stock VALUES (3, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T2
COMMIT;                                                                            -- T1
COMMIT;                                                                            -- T2
SELECT id, quantity FROM stock;                                                    -- after
