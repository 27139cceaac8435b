-- Implicit commit
-- id: P59
-- what: A second BEGIN does not nest and DDL is not part of a transaction: each commits without a word what was done
--       so far. The ROLLBACK that follows has nothing left to undo, and the stock stays taken.
-- cure: One BEGIN a transaction, which is passed on and not begun again; no DDL inside.
-- relies: jobs/transaction.py, worker/database/transactions.py
-- harm: after: SELECT id, available FROM stock  -> (1, 7) (2, 17)

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10), (2, 20);
CREATE TABLE orders (id INT PRIMARY KEY, status VARCHAR(10));

-- schedule: wrong
BEGIN;                                                     -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T1
BEGIN;                                                     -- T1
INSERT INTO orders VALUES (1, 'placed');                   -- T1
ROLLBACK;                                                  -- T1
BEGIN;                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;   -- T2
CREATE TABLE report (id INT PRIMARY KEY);                  -- T2
ROLLBACK;                                                  -- T2
SELECT id, available FROM stock;                           -- after

-- schedule: right
BEGIN;                                                     -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T1
INSERT INTO orders VALUES (1, 'placed');                   -- T1
ROLLBACK;                                                  -- T1
CREATE TABLE report (id INT PRIMARY KEY);                  -- T2
BEGIN;                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;   -- T2
ROLLBACK;                                                  -- T2
SELECT id, available FROM stock;                           -- after
