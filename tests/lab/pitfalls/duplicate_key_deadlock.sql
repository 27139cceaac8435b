-- Duplicate-key deadlock: three inserts of one key, and the first is rolled back
-- id: P31
-- what: An INSERT that meets an uncommitted row with its key waits for a shared lock on it. When the first one rolls
--       back, both that wait get the shared lock, and then each needs the other's to go.
-- cure: Before inserting, lock an existing row that all of them share: here the customer.
-- relies: jobs/orders/place_orders.py, jobs/orders/locks.py
-- harm: <error 1213>

-- setup
CREATE TABLE customers (id INT PRIMARY KEY, balance INT);
CREATE TABLE orders (id INT PRIMARY KEY, customer_id INT, total INT);
INSERT INTO customers VALUES (1, 0);
INSERT INTO orders VALUES (1, 1, 10), (5, 1, 50);

-- schedule: wrong, victim T2 or T3
BEGIN;                                                   -- T1
BEGIN;                                                   -- T2
BEGIN;                                                   -- T3
INSERT INTO orders VALUES (3, 1, 30);                    -- T1
INSERT INTO orders VALUES (3, 1, 30);                    -- T2
INSERT INTO orders VALUES (3, 1, 30);                    -- T3
ROLLBACK;                                                -- T1
COMMIT;                                                  -- T2
COMMIT;                                                  -- T3
SELECT id, total FROM orders;                            -- after

-- schedule: right
BEGIN;                                                   -- T1
BEGIN;                                                   -- T2
BEGIN;                                                   -- T3
SELECT balance FROM customers WHERE id = 1 FOR UPDATE;   -- T1
INSERT INTO orders VALUES (3, 1, 30);                    -- T1
SELECT balance FROM customers WHERE id = 1 FOR UPDATE;   -- T2
SELECT balance FROM customers WHERE id = 1 FOR UPDATE;   -- T3
ROLLBACK;                                                -- T1
INSERT INTO orders VALUES (3, 1, 30);                    -- T2
COMMIT;                                                  -- T2
INSERT INTO orders VALUES (3, 1, 30);                    -- T3
ROLLBACK;                                                -- T3
SELECT id, total FROM orders;                            -- after
