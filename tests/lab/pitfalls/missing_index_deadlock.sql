-- Missing index deadlock
-- id: P41
-- what: An UPDATE without an index locks its way through the whole table and waits at a row that it would not even
--       change. Whoever holds that row, and wants one that the scan has passed, closes the circle.
-- cure: An index on the condition: then the two meet at the row they both change, and nowhere else.
-- relies: sql/orders/stock.sql, sql/orders/customers.sql, sql/orders/orders.sql
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, shelf INT, quantity INT);
INSERT INTO stock VALUES (1, 10, 10), (2, 20, 10), (3, 30, 10);

-- schedule: wrong
BEGIN;                                                                              -- T1
BEGIN;                                                                              -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 3;                              -- T1
UPDATE stock SET quantity = quantity - 1 WHERE shelf = 10;                          -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;                              -- T1
COMMIT;                                                                             -- T2
COMMIT;                                                                             -- T1
SELECT id, quantity FROM stock;                                                     -- after

-- schedule: right
CREATE INDEX by_shelf ON stock (shelf);                                             -- T2
BEGIN;                                                                              -- T1
BEGIN;                                                                              -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 3;                              -- T1
UPDATE stock FORCE INDEX (by_shelf) SET quantity = quantity - 1 WHERE shelf = 10;   -- T2
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;                              -- T1
COMMIT;                                                                             -- T2
COMMIT;                                                                             -- T1
SELECT id, quantity FROM stock;                                                     -- after
