-- Deadlock of two tables
-- id: P52
-- what: One job locks the customer and then the stock, another one the stock and then the customer. Ids in ascending
--       order do not help where the order of the tables is not the same too.
-- cure: One order of the tables for all jobs, kept by one module that takes every lock.
-- relies: jobs/orders/locks.py, sql/orders/locks.sql
-- harm: <error 1213>

-- setup
CREATE TABLE customers (id INT PRIMARY KEY, balance INT);
INSERT INTO customers VALUES (1, 50);
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10);

-- schedule: wrong
BEGIN;                                                     -- T1
BEGIN;                                                     -- T2
UPDATE customers SET balance = balance + 5 WHERE id = 1;   -- T1
UPDATE stock SET available = available + 1 WHERE id = 1;   -- T2
UPDATE stock SET available = available - 1 WHERE id = 1;   -- T1
UPDATE customers SET balance = balance - 5 WHERE id = 1;   -- T2
COMMIT;                                                    -- T1
COMMIT;                                                    -- T2
SELECT balance, available FROM customers, stock;           -- after

-- schedule: right
BEGIN;                                                     -- T1
BEGIN;                                                     -- T2
UPDATE customers SET balance = balance + 5 WHERE id = 1;   -- T1
UPDATE customers SET balance = balance - 5 WHERE id = 1;   -- T2
UPDATE stock SET available = available - 1 WHERE id = 1;   -- T1
COMMIT;                                                    -- T1
UPDATE stock SET available = available + 1 WHERE id = 1;   -- T2
COMMIT;                                                    -- T2
SELECT balance, available FROM customers, stock;           -- after
