-- Dirty read
-- id: P02
-- what: A customer is told that the product is sold out, because of an order that is rolled back a moment later. READ
--       UNCOMMITTED reads the newest version of a row, whoever wrote it and however that ends.
-- cure: READ COMMITTED or a higher level, asked for and not left to the server's default.
-- relies: worker/database/transactions.py
-- harm: after: SELECT reply FROM replies  -> ('sold out')

-- setup
CREATE TABLE stock (product_id INT PRIMARY KEY, available INT);
CREATE TABLE replies (reply VARCHAR(16));
INSERT INTO stock VALUES (1, 10);

-- schedule: wrong
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;                          -- T2
BEGIN;                                                                     -- T1
BEGIN;                                                                     -- T2
UPDATE stock SET available = available - 10 WHERE product_id = 1;          -- T1
SELECT available INTO @available FROM stock WHERE product_id = 1;          -- T2
ROLLBACK;                                                                  -- T1
INSERT INTO replies VALUES (IF(@available > 0, 'in stock', 'sold out'));   -- T2
COMMIT;                                                                    -- T2
SELECT reply FROM replies;                                                 -- after

-- schedule: right
BEGIN;                                                                     -- T1
BEGIN;                                                                     -- T2
UPDATE stock SET available = available - 10 WHERE product_id = 1;          -- T1
SELECT available INTO @available FROM stock WHERE product_id = 1;          -- T2
ROLLBACK;                                                                  -- T1
INSERT INTO replies VALUES (IF(@available > 0, 'in stock', 'sold out'));   -- T2
COMMIT;                                                                    -- T2
SELECT reply FROM replies;                                                 -- after
