-- Deadlock of INSERT IGNORE and an update
-- id: P34
-- what: INSERT IGNORE says that it changed nothing, and yet it keeps a shared lock on the row that was there. Two
--       transactions that make sure of the row in this way, and then update it, deadlock without having seen an error.
-- cure: Make sure of the row in a transaction of its own (autocommit), and only then begin.
-- relies: nothing: no statement says IGNORE, and customers and stock are there before the first order
-- harm: <error 1213>

-- setup
CREATE TABLE customers (id INT PRIMARY KEY, balance INT);
INSERT INTO customers VALUES (1, 0);

-- schedule: wrong
BEGIN;                                                      -- T1
BEGIN;                                                      -- T2
INSERT IGNORE INTO customers VALUES (1, 0);                 -- T1
INSERT IGNORE INTO customers VALUES (1, 0);                 -- T2
UPDATE customers SET balance = balance + 30 WHERE id = 1;   -- T1
UPDATE customers SET balance = balance + 30 WHERE id = 1;   -- T2
COMMIT;                                                     -- T1
COMMIT;                                                     -- T2
SELECT id, balance FROM customers;                          -- after

-- schedule: right
INSERT IGNORE INTO customers VALUES (1, 0);                 -- T1
INSERT IGNORE INTO customers VALUES (1, 0);                 -- T2
BEGIN;                                                      -- T1
BEGIN;                                                      -- T2
UPDATE customers SET balance = balance + 30 WHERE id = 1;   -- T1
UPDATE customers SET balance = balance + 30 WHERE id = 1;   -- T2
COMMIT;                                                     -- T1
COMMIT;                                                     -- T2
SELECT id, balance FROM customers;                          -- after
