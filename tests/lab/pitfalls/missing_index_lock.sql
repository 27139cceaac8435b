-- Missing index: an update of one row locks the whole table
-- id: P40
-- what: Without an index on its condition an UPDATE reads every row, and locks every row it reads, those that do not
--       match included. Under REPEATABLE READ they stay locked until the transaction ends.
-- cure: An index on the condition (or READ COMMITTED, which lets go of rows that do not match).
-- relies: sql/orders/stock.sql, sql/orders/customers.sql, sql/orders/orders.sql
-- harm: WHERE id = 2  <waits>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, shelf INT, quantity INT);
INSERT INTO stock VALUES (1, 10, 10), (2, 20, 10), (3, 30, 10);

-- schedule: wrong
BEGIN;                                                                              -- T1
UPDATE stock SET quantity = quantity - 1 WHERE shelf = 10;                          -- T1
UPDATE stock SET quantity = quantity - 1 WHERE id = 2;                              -- T2
COMMIT;                                                                             -- T1
SELECT id, quantity FROM stock;                                                     -- after

-- schedule: right
CREATE INDEX by_shelf ON stock (shelf);                                             -- T1
BEGIN;                                                                              -- T1
UPDATE stock FORCE INDEX (by_shelf) SET quantity = quantity - 1 WHERE shelf = 10;   -- T1
UPDATE stock SET quantity = quantity - 1 WHERE id = 2;                              -- T2
COMMIT;                                                                             -- T1
SELECT id, quantity FROM stock;                                                     -- after
