-- Unsigned underflow
-- id: X05
-- what: Between unsigned numbers there is no result below zero, so a condition that subtracts fails with error 1690
--       where it should be false. The order that should have been refused as sold out gets no outcome at all.
-- cure: Signed quantities with CHECK (available >= 0).
-- relies: sql/migrations/20261122130000_create_orders.sql
-- harm: <error 1690>

-- setup
CREATE TABLE unsigned_stock (id INT PRIMARY KEY, available INT UNSIGNED);
INSERT INTO unsigned_stock VALUES (1, 2);
CREATE TABLE stock (id INT PRIMARY KEY, available INT, CHECK (available >= 0));
INSERT INTO stock VALUES (1, 2);
CREATE TABLE orders (id INT PRIMARY KEY, status VARCHAR(10));

-- schedule: wrong
BEGIN;                                                                                     -- T1
UPDATE unsigned_stock SET available = available - 3 WHERE id = 1 AND available - 3 >= 0;   -- T1
ROLLBACK;                                                                                  -- T1
SELECT id, status FROM orders;                                                             -- after

-- schedule: right
BEGIN;                                                                                     -- T1
UPDATE stock SET available = available - 3 WHERE id = 1 AND available - 3 >= 0;            -- T1
INSERT INTO orders VALUES (1, 'rejected');                                                 -- T1
COMMIT;                                                                                    -- T1
-- Whoever forgets the condition meets the CHECK.
UPDATE stock SET available = available - 3 WHERE id = 1;                                   -- T2
SELECT id, status FROM orders;                                                             -- after
