-- Predicate-many-preceders, with a write
-- id: P07
-- what: A transaction announces that the product at 20 is discontinued, waits for a price change, and then deletes
--       another product than it announced. Its SELECT searched a snapshot and its DELETE searches the newest rows, so
--       one condition means two things.
-- cure: Search with FOR UPDATE before anything else, so that what is found is what is changed.
-- relies: jobs/orders/locks.py, sql/orders/locks.sql
-- harm: after: SELECT product_id FROM products NATURAL JOIN discontinued  -> (2)

-- setup
CREATE TABLE products (product_id INT PRIMARY KEY, price INT);
CREATE TABLE discontinued (product_id INT PRIMARY KEY);
INSERT INTO products VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                                                            -- T1
BEGIN;                                                            -- T2
UPDATE products SET price = price + 10;                           -- T1
SELECT product_id INTO @product FROM products WHERE price = 20;   -- T2
INSERT INTO discontinued VALUES (@product);                       -- T2
DELETE FROM products WHERE price = 20;                            -- T2
COMMIT;                                                           -- T1
COMMIT;                                                           -- T2
SELECT product_id FROM products NATURAL JOIN discontinued;        -- after
SELECT product_id FROM products;                                  -- after

-- schedule: right
BEGIN;                                                                       -- T1
BEGIN;                                                                       -- T2
UPDATE products SET price = price + 10;                                      -- T1
SELECT product_id INTO @product FROM products WHERE price = 20 FOR UPDATE;   -- T2
INSERT INTO discontinued VALUES (@product);                                  -- T2
DELETE FROM products WHERE price = 20;                                       -- T2
COMMIT;                                                                      -- T1
COMMIT;                                                                      -- T2
SELECT product_id FROM products NATURAL JOIN discontinued;                   -- after
SELECT product_id FROM products;                                             -- after
