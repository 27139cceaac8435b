-- SKIP LOCKED leaves rows out
-- id: P46
-- what: A worker takes an order off the queue with SKIP LOCKED, which is what it is for. A sum that is made with SKIP
--       LOCKED leaves out whatever anybody happens to hold, so the customer's invoice is short of that order.
-- cure: SKIP LOCKED only to take the next piece of work; whatever needs every row waits for the locks.
-- relies: nothing: it uses SKIP LOCKED nowhere; its locking reads all wait
-- harm: after: SELECT customer, total FROM invoices  -> (7, 20)

-- setup
CREATE TABLE orders (id INT PRIMARY KEY, customer INT, total INT);
INSERT INTO orders VALUES (1, 7, 10), (2, 7, 20);
CREATE TABLE invoices (customer INT PRIMARY KEY, total INT);

-- schedule: wrong
BEGIN;                                                                     -- T1
SELECT id FROM orders ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;          -- T1
BEGIN;                                                                     -- T2
SELECT SUM(total) FROM orders WHERE customer = 7 FOR UPDATE SKIP LOCKED;   -- T2
INSERT INTO invoices VALUES (7, 20);                                       -- T2
COMMIT;                                                                    -- T2
COMMIT;                                                                    -- T1
SELECT customer, total FROM invoices;                                      -- after

-- schedule: right
BEGIN;                                                                     -- T1
SELECT id FROM orders ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;          -- T1
BEGIN;                                                                     -- T2
SELECT SUM(total) FROM orders WHERE customer = 7 FOR UPDATE;               -- T2
COMMIT;                                                                    -- T1
INSERT INTO invoices VALUES (7, 30);                                       -- T2
COMMIT;                                                                    -- T2
SELECT customer, total FROM invoices;                                      -- after
