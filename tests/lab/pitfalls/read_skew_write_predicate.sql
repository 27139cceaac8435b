-- Read skew with a write predicate
-- id: P10
-- what: An order is recorded at the price that was read, and the UPDATE that takes its piece from the stock under
--       that same price finds no row, because the price has changed since. That is no error but a count of 0, so a
--       piece is sold that was never taken.
-- cure: Read with FOR UPDATE before anything else; where a condition guards a write, look at the number of rows.
-- relies: jobs/orders/locks.py, sql/orders/locks.sql
-- harm: after: SELECT available, (SELECT COUNT(*) FROM orders) AS orders FROM stock  -> (5, 1)

-- setup
CREATE TABLE stock (product_id INT PRIMARY KEY, price INT, available INT);
CREATE TABLE orders (order_id INT PRIMARY KEY, price INT);
INSERT INTO stock VALUES (1, 20, 5);

-- schedule: wrong
BEGIN;                                                                                -- T1
SELECT price INTO @price FROM stock WHERE product_id = 1;                             -- T1
UPDATE stock SET price = 18 WHERE product_id = 1;                                     -- T2
INSERT INTO orders VALUES (7, @price);                                                -- T1
UPDATE stock SET available = available - 1 WHERE product_id = 1 AND price = @price;   -- T1
COMMIT;                                                                               -- T1
SELECT available, (SELECT COUNT(*) FROM orders) AS orders FROM stock;                 -- after

-- schedule: right
BEGIN;                                                                                -- T1
SELECT price INTO @price FROM stock WHERE product_id = 1 FOR UPDATE;                  -- T1
UPDATE stock SET price = 18 WHERE product_id = 1;                                     -- T2
INSERT INTO orders VALUES (7, @price);                                                -- T1
UPDATE stock SET available = available - 1 WHERE product_id = 1 AND price = @price;   -- T1
COMMIT;                                                                               -- T1
SELECT available, (SELECT COUNT(*) FROM orders) AS orders FROM stock;                 -- after
