-- Intermediate read
-- id: P03
-- what: A stock-taking sets a quantity to zero and then to what was counted, and a customer who asks in between hears
--       that the product is sold out. The zero was never committed as such: READ UNCOMMITTED shows the steps of a
--       transaction, not just its result.
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
UPDATE stock SET available = 0 WHERE product_id = 1;                       -- T1
SELECT available INTO @available FROM stock WHERE product_id = 1;          -- T2
UPDATE stock SET available = 9 WHERE product_id = 1;                       -- T1
COMMIT;                                                                    -- T1
INSERT INTO replies VALUES (IF(@available > 0, 'in stock', 'sold out'));   -- T2
COMMIT;                                                                    -- T2
SELECT reply FROM replies;                                                 -- after

-- schedule: right
BEGIN;                                                                     -- T1
BEGIN;                                                                     -- T2
UPDATE stock SET available = 0 WHERE product_id = 1;                       -- T1
SELECT available INTO @available FROM stock WHERE product_id = 1;          -- T2
UPDATE stock SET available = 9 WHERE product_id = 1;                       -- T1
COMMIT;                                                                    -- T1
INSERT INTO replies VALUES (IF(@available > 0, 'in stock', 'sold out'));   -- T2
COMMIT;                                                                    -- T2
SELECT reply FROM replies;                                                 -- after
