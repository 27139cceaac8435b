-- Cached count and average drift
-- id: X09
-- what: Two customers review a product at once, and each transaction counts the reviews that it can see: all but the
--       other's. The count that is written last is short of a review for good, and the average with it.
-- cure: Keep sum and count, and move both by what is added, in the row of the product, before the review goes in.
-- relies: sql/orders/stock.sql, sql/orders/customers.sql
-- harm: after: SELECT rating_count, (SELECT COUNT(*) FROM reviews) FROM products  -> (1, 2)

-- setup
CREATE TABLE products (id INT PRIMARY KEY, rating_sum INT, rating_count INT);
INSERT INTO products VALUES (1, 0, 0);
CREATE TABLE reviews (id INT AUTO_INCREMENT PRIMARY KEY, product INT, rating INT);

-- schedule: wrong
BEGIN;                                                                                           -- T1
INSERT INTO reviews (product, rating) VALUES (1, 5);                                             -- T1
BEGIN;                                                                                           -- T2
INSERT INTO reviews (product, rating) VALUES (1, 2);                                             -- T2
SELECT SUM(rating), COUNT(*) FROM reviews;                                                       -- T1
SELECT SUM(rating), COUNT(*) FROM reviews;                                                       -- T2
UPDATE products SET rating_sum = 5, rating_count = 1 WHERE id = 1;                               -- T1
COMMIT;                                                                                          -- T1
UPDATE products SET rating_sum = 2, rating_count = 1 WHERE id = 1;                               -- T2
COMMIT;                                                                                          -- T2
SELECT rating_count, (SELECT COUNT(*) FROM reviews) FROM products;                               -- after

-- schedule: right
BEGIN;                                                                                           -- T1
BEGIN;                                                                                           -- T2
UPDATE products SET rating_sum = rating_sum + 5, rating_count = rating_count + 1 WHERE id = 1;   -- T1
UPDATE products SET rating_sum = rating_sum + 2, rating_count = rating_count + 1 WHERE id = 1;   -- T2
INSERT INTO reviews (product, rating) VALUES (1, 5);                                             -- T1
COMMIT;                                                                                          -- T1
INSERT INTO reviews (product, rating) VALUES (1, 2);                                             -- T2
COMMIT;                                                                                          -- T2
SELECT rating_count, (SELECT COUNT(*) FROM reviews) FROM products;                               -- after
