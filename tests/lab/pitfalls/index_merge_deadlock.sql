-- Index merge locks more than the row
-- id: P45
-- what: The optimizer answers `customer = ? AND product = ?` from two indexes at once and locks every entry that
--       either of them finds, in an order that the data decides. So two transactions that change only lines of their
--       own customer deadlock.
-- cure: One index over both columns, which finds just the row.
-- relies: jobs/orders/locks.py, sql/orders/locks.sql
-- harm: <error 1213>

-- setup
CREATE TABLE order_lines (
  id INT PRIMARY KEY, customer INT, product INT, quantity INT, note CHAR(200) DEFAULT '',
  INDEX by_customer (customer), INDEX by_product (product)
);
INSERT INTO order_lines (id, customer, product, quantity)
VALUES (1, 1, 2, 1), (2, 2, 2, 1), (3, 1, 1, 1), (4, 2, 1, 1);
INSERT INTO order_lines (id, customer, product, quantity)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500)
SELECT 1000 + n, 1 + n % 2, 2 + n, 1 FROM numbers;
INSERT INTO order_lines (id, customer, product, quantity)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500)
SELECT 2000 + n, 2 + n, 1 + n % 2, 1 FROM numbers;
CREATE TABLE better_order_lines (
  id INT PRIMARY KEY, customer INT, product INT, quantity INT, note CHAR(200) DEFAULT '',
  INDEX by_customer_and_product (customer, product)
);
INSERT INTO better_order_lines SELECT * FROM order_lines;
ANALYZE TABLE order_lines;
ANALYZE TABLE better_order_lines;

-- schedule: wrong
BEGIN;                                                                           -- T1
BEGIN;                                                                           -- T2
UPDATE order_lines SET quantity = 5 WHERE customer = 1 AND product = 1;          -- T1
UPDATE order_lines SET quantity = 5 WHERE customer = 2 AND product = 2;          -- T2
UPDATE order_lines SET quantity = 5 WHERE customer = 1 AND product = 2;          -- T1
COMMIT;                                                                          -- T1
COMMIT;                                                                          -- T2
SELECT id, quantity FROM order_lines WHERE id < 1000;                            -- after

-- schedule: right
BEGIN;                                                                           -- T1
BEGIN;                                                                           -- T2
UPDATE better_order_lines SET quantity = 5 WHERE customer = 1 AND product = 1;   -- T1
UPDATE better_order_lines SET quantity = 5 WHERE customer = 2 AND product = 2;   -- T2
UPDATE better_order_lines SET quantity = 5 WHERE customer = 1 AND product = 2;   -- T1
COMMIT;                                                                          -- T1
COMMIT;                                                                          -- T2
SELECT id, quantity FROM better_order_lines WHERE id < 1000;                     -- after
