-- Dirty write
-- id: P01
-- what: Two price lists are applied at the same time, each statement committing by itself, and the shop is left with
--       half of each. Inside a transaction InnoDB makes the second writer wait for the first at every level, because
--       a written row stays locked until the end.
-- cure: What belongs together is one transaction; any level will do.
-- relies: worker/database/transactions.py
-- harm: after: SELECT product_id, price FROM products  -> (1, 12) (2, 21)

-- setup
CREATE TABLE products (product_id INT PRIMARY KEY, price INT);
INSERT INTO products VALUES (1, 10), (2, 20);

-- schedule: wrong
UPDATE products SET price = 11 WHERE product_id = 1;   -- T1
UPDATE products SET price = 12 WHERE product_id = 1;   -- T2
UPDATE products SET price = 22 WHERE product_id = 2;   -- T2
UPDATE products SET price = 21 WHERE product_id = 2;   -- T1
SELECT product_id, price FROM products;                -- after

-- schedule: right
BEGIN;                                                 -- T1
BEGIN;                                                 -- T2
UPDATE products SET price = 11 WHERE product_id = 1;   -- T1
UPDATE products SET price = 12 WHERE product_id = 1;   -- T2
UPDATE products SET price = 22 WHERE product_id = 2;   -- T2
UPDATE products SET price = 21 WHERE product_id = 2;   -- T1
COMMIT;                                                -- T1
COMMIT;                                                -- T2
SELECT product_id, price FROM products;                -- after
