-- Affected rows are changed rows
-- id: P63
-- what: An UPDATE that sets what is there already reports 0 rows, as if no row had been found. Code that inserts when
--       nothing was updated then doubles the line of the cart.
-- cure: Ask a locking read whether the row is there (or connect with CLIENT_FOUND_ROWS); and a unique key besides.
-- relies: jobs/orders/locks.py, jobs/orders/restock.py
-- harm: after: SELECT product, SUM(quantity) FROM cart_lines GROUP BY product  -> (1, 4)

-- setup
CREATE TABLE cart_lines (id INT AUTO_INCREMENT PRIMARY KEY, product INT, quantity INT);
INSERT INTO cart_lines (product, quantity) VALUES (1, 2);

-- schedule: wrong
BEGIN;                                                           -- T1
UPDATE cart_lines SET quantity = 2 WHERE product = 1;            -- T1
INSERT INTO cart_lines (product, quantity) VALUES (1, 2);        -- T1
COMMIT;                                                          -- T1
SELECT product, SUM(quantity) FROM cart_lines GROUP BY product;  -- after

-- schedule: right
BEGIN;                                                           -- T1
SELECT id FROM cart_lines WHERE product = 1 FOR UPDATE;          -- T1
UPDATE cart_lines SET quantity = 2 WHERE id = 1;                 -- T1
COMMIT;                                                          -- T1
SELECT product, SUM(quantity) FROM cart_lines GROUP BY product;  -- after
