-- Snapshot isolation refuses a decrement
-- id: P16
-- what: A transaction looks up a customer and then takes a piece from the stock with an atomic decrement, which
--       innodb_snapshot_isolation refuses with error 1020 where somebody else has taken one since. The look-up pinned
--       the snapshot for all tables, and the stock row is newer than that.
-- cure: No plain SELECT before the write: look things up before the transaction begins, or read them with a lock. A
--       retry of the whole transaction helps too.
-- relies: jobs/orders/locks.py, worker/database/retry.py
-- harm: after: SELECT available FROM stock  -> (9)

-- setup
CREATE TABLE customers (customer_id INT PRIMARY KEY, name VARCHAR(16));
CREATE TABLE stock (product_id INT PRIMARY KEY, available INT);
INSERT INTO customers VALUES (1, 'Ada');
INSERT INTO stock VALUES (1, 10);

-- schedule: wrong
BEGIN;                                                             -- T2
SELECT name FROM customers WHERE customer_id = 1;                  -- T2
UPDATE stock SET available = available - 1 WHERE product_id = 1;   -- T1
UPDATE stock SET available = available - 1 WHERE product_id = 1;   -- T2
COMMIT;                                                            -- T2
SELECT available FROM stock;                                       -- after

-- schedule: right
SELECT name FROM customers WHERE customer_id = 1;                  -- T2
BEGIN;                                                             -- T2
UPDATE stock SET available = available - 1 WHERE product_id = 1;   -- T1
UPDATE stock SET available = available - 1 WHERE product_id = 1;   -- T2
COMMIT;                                                            -- T2
SELECT available FROM stock;                                       -- after
