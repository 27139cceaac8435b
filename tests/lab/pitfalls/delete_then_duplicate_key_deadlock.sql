-- Duplicate-key deadlock after a delete
-- id: P32
-- what: Two INSERTs wait for shared locks on a row that a third transaction has deleted and not yet committed. With the
--       commit both get their shared lock, both want to write in the row's place, and each is in the other's way.
-- cure: INSERT ... ON DUPLICATE KEY UPDATE waits for an exclusive lock, which only one can get.
-- relies: sql/orders/stock.sql, sql/orders/customers.sql
-- harm: <error 1213>

-- setup
CREATE TABLE reservations (id INT PRIMARY KEY, quantity INT);
INSERT INTO reservations VALUES (1, 10), (3, 10), (5, 10);

-- schedule: wrong, victim T2 or T3
BEGIN;                                                                                    -- T1
BEGIN;                                                                                    -- T2
BEGIN;                                                                                    -- T3
DELETE FROM reservations WHERE id = 3;                                                    -- T1
INSERT INTO reservations VALUES (3, 2);                                                   -- T2
INSERT INTO reservations VALUES (3, 2);                                                   -- T3
COMMIT;                                                                                   -- T1
COMMIT;                                                                                   -- T2
COMMIT;                                                                                   -- T3
SELECT id, quantity FROM reservations;                                                    -- after

-- schedule: right
BEGIN;                                                                                    -- T1
BEGIN;                                                                                    -- T2
BEGIN;                                                                                    -- T3
DELETE FROM reservations WHERE id = 3;                                                    -- T1
INSERT INTO reservations VALUES (3, 2) ON DUPLICATE KEY UPDATE quantity = quantity + 2;   -- T2
INSERT INTO reservations VALUES (3, 2) ON DUPLICATE KEY UPDATE quantity = quantity + 2;   -- T3
COMMIT;                                                                                   -- T1
COMMIT;                                                                                   -- T2
COMMIT;                                                                                   -- T3
SELECT id, quantity FROM reservations;                                                    -- after
