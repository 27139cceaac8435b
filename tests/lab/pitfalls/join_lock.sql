-- FOR UPDATE on a join locks the rows of both tables
-- id: P43
-- what: A join that reads one order with its customer's name FOR UPDATE locks the customer too. Every other order of
--       that customer then waits, for the sake of a name.
-- cure: Read the name without a lock, before the transaction, and lock the order alone. (FOR UPDATE OF orders would do
--       it in one statement, but MariaDB answers it with error 1064.)
-- relies: sql/orders/locks.sql, jobs/orders/cancel_order.py
-- harm: WHERE id = 1  <waits>

-- setup
CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(10), balance INT);
CREATE TABLE orders (id INT PRIMARY KEY, customer_id INT);
INSERT INTO customers VALUES (1, 'Ada', 0);
INSERT INTO orders VALUES (7, 1);

-- schedule: wrong
BEGIN;                                                                                                 -- T1
SELECT name FROM orders JOIN customers ON customers.id = customer_id WHERE orders.id = 7 FOR UPDATE;   -- T1
UPDATE customers SET balance = balance + 30 WHERE id = 1;                                              -- T2
COMMIT;                                                                                                -- T1
SELECT balance FROM customers;                                                                         -- after

-- schedule: right
SELECT name FROM orders JOIN customers ON customers.id = customer_id WHERE orders.id = 7;              -- T1
BEGIN;                                                                                                 -- T1
SELECT id FROM orders WHERE id = 7 FOR UPDATE;                                                         -- T1
UPDATE customers SET balance = balance + 30 WHERE id = 1;                                              -- T2
COMMIT;                                                                                                -- T1
SELECT balance FROM customers;                                                                         -- after
