-- Foreign key deadlock: insert a child, then update its parent
-- id: P37
-- what: Inserting an order takes a shared lock on its customer, for the foreign key. Two orders of one customer both
--       hold it, and when each adds to the customer's balance it waits for the other.
-- cure: Lock the customer FOR UPDATE first; or have no foreign key to a row that many orders change.
-- relies: jobs/orders/place_orders.py, jobs/orders/locks.py
-- harm: <error 1213>

-- setup
CREATE TABLE customers (id INT PRIMARY KEY, balance INT);
CREATE TABLE orders (id INT PRIMARY KEY, customer_id INT, FOREIGN KEY (customer_id) REFERENCES customers (id));
INSERT INTO customers VALUES (1, 0);

-- schedule: wrong
BEGIN;                                                                                    -- T1
BEGIN;                                                                                    -- T2
INSERT INTO orders VALUES (1, 1);                                                         -- T1
INSERT INTO orders VALUES (2, 1);                                                         -- T2
UPDATE customers SET balance = balance + 30 WHERE id = 1;                                 -- T1
UPDATE customers SET balance = balance + 30 WHERE id = 1;                                 -- T2
COMMIT;                                                                                   -- T1
COMMIT;                                                                                   -- T2
SELECT COUNT(*), MIN(balance) FROM orders JOIN customers ON customers.id = customer_id;   -- after

-- schedule: right
BEGIN;                                                                                    -- T1
BEGIN;                                                                                    -- T2
SELECT balance FROM customers WHERE id = 1 FOR UPDATE;                                    -- T1
SELECT balance FROM customers WHERE id = 1 FOR UPDATE;                                    -- T2
INSERT INTO orders VALUES (1, 1);                                                         -- T1
UPDATE customers SET balance = balance + 30 WHERE id = 1;                                 -- T1
COMMIT;                                                                                   -- T1
INSERT INTO orders VALUES (2, 1);                                                         -- T2
UPDATE customers SET balance = balance + 30 WHERE id = 1;                                 -- T2
COMMIT;                                                                                   -- T2
SELECT COUNT(*), MIN(balance) FROM orders JOIN customers ON customers.id = customer_id;   -- after
