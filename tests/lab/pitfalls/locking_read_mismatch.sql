-- Locking read beside a snapshot
-- id: P15
-- what: A transaction reads the price of a pack with a plain SELECT and its size with FOR UPDATE, and sells the pack
--       of two at the price of one. The first read comes from the snapshot and the second from the newest row, and
--       the two were never true together.
-- cure: Never mix them: read all of it with FOR UPDATE, as the first statement of the transaction.
-- relies: jobs/orders/locks.py, sql/orders/locks.sql
-- harm: after: SELECT price, pieces FROM orders  -> (10, 2)

-- setup
CREATE TABLE stock (product_id INT PRIMARY KEY, price INT, pieces INT);
CREATE TABLE orders (price INT, pieces INT);
INSERT INTO stock VALUES (1, 10, 1);

-- schedule: wrong
BEGIN;                                                                                 -- T1
SELECT price INTO @price FROM stock WHERE product_id = 1;                              -- T1
UPDATE stock SET price = 20, pieces = 2 WHERE product_id = 1;                          -- T2
INSERT INTO orders SELECT @price, pieces FROM stock WHERE product_id = 1 FOR UPDATE;   -- T1
SELECT price, pieces FROM stock WHERE product_id = 1;                                  -- T1
COMMIT;                                                                                -- T1
SELECT price, pieces FROM orders;                                                      -- after

-- schedule: right
BEGIN;                                                                                 -- T1
SELECT price INTO @price FROM stock WHERE product_id = 1 FOR UPDATE;                   -- T1
UPDATE stock SET price = 20, pieces = 2 WHERE product_id = 1;                          -- T2
INSERT INTO orders SELECT @price, pieces FROM stock WHERE product_id = 1 FOR UPDATE;   -- T1
SELECT price, pieces FROM stock WHERE product_id = 1;                                  -- T1
COMMIT;                                                                                -- T1
SELECT price, pieces FROM orders;                                                      -- after
