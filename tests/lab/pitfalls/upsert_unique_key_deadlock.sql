-- Deadlock of two upserts that meet another unique key
-- id: P35b
-- what: An upsert of a new id that meets a known customer locks through the second unique key, and on the way it has
--       locked where the new id would go. MariaDB deadlocks like any two lock orders; MySQL under REPEATABLE READ makes
--       the second transaction wait at its first statement, although the customers differ.
-- cure: Upsert into tables that have one unique key, sorted by it.
-- relies: sql/orders/stock.sql, sql/orders/customers.sql, jobs/orders/add_catalogue.py
-- harm: <error 1213>

-- setup
CREATE TABLE carts (id INT PRIMARY KEY, customer_id INT UNIQUE, quantity INT);
CREATE TABLE carts_of_customers (customer_id INT PRIMARY KEY, quantity INT);
INSERT INTO carts VALUES (1, 10, 1), (5, 50, 1), (9, 90, 1);
INSERT INTO carts_of_customers VALUES (10, 1), (50, 1), (90, 1);

-- schedule: wrong
BEGIN;                                                                                           -- T1
BEGIN;                                                                                           -- T2
INSERT INTO carts VALUES (11, 10, 1) ON DUPLICATE KEY UPDATE quantity = carts.quantity + 1;      -- T1
INSERT INTO carts VALUES (12, 50, 1) ON DUPLICATE KEY UPDATE quantity = carts.quantity + 1;      -- T2
INSERT INTO carts VALUES (13, 50, 1) ON DUPLICATE KEY UPDATE quantity = carts.quantity + 1;      -- T1
INSERT INTO carts VALUES (14, 10, 1) ON DUPLICATE KEY UPDATE quantity = carts.quantity + 1;      -- T2
COMMIT;                                                                                          -- T1
COMMIT;                                                                                          -- T2
SELECT customer_id, quantity FROM carts;                                                         -- after

-- schedule: right
BEGIN;                                                                                           -- T1
BEGIN;                                                                                           -- T2
INSERT INTO carts_of_customers VALUES (10, 1) ON DUPLICATE KEY UPDATE quantity = quantity + 1;   -- T1
INSERT INTO carts_of_customers VALUES (10, 1) ON DUPLICATE KEY UPDATE quantity = quantity + 1;   -- T2
INSERT INTO carts_of_customers VALUES (50, 1) ON DUPLICATE KEY UPDATE quantity = quantity + 1;   -- T1
COMMIT;                                                                                          -- T1
INSERT INTO carts_of_customers VALUES (50, 1) ON DUPLICATE KEY UPDATE quantity = quantity + 1;   -- T2
COMMIT;                                                                                          -- T2
SELECT customer_id, quantity FROM carts_of_customers;                                            -- after
