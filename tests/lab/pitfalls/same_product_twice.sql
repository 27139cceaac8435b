-- The same product twice in one order
-- id: P51
-- what: An order has two lines of one product, and each line is checked by itself against the same stock. Both pass,
--       and together they take more than there is, although the row was locked all the while.
-- cure: Merge the lines of a product before the check; a CHECK (available >= 0) besides.
-- relies: jobs/orders/requests.py
-- harm: after: SELECT available FROM stock WHERE id = 1  -> (-1)

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 3);
CREATE TABLE orders (id INT PRIMARY KEY, status VARCHAR(10));

-- schedule: wrong
BEGIN;                                                         -- T1
SELECT available >= 2 FROM stock WHERE id = 1 FOR UPDATE;      -- T1
SELECT available >= 2 FROM stock WHERE id = 1 FOR UPDATE;      -- T1
UPDATE stock SET available = available - 2 WHERE id = 1;       -- T1
UPDATE stock SET available = available - 2 WHERE id = 1;       -- T1
INSERT INTO orders VALUES (1, 'placed');                       -- T1
COMMIT;                                                        -- T1
SELECT available FROM stock WHERE id = 1;                      -- after

-- schedule: right
BEGIN;                                                         -- T1
SELECT available >= 2 + 2 FROM stock WHERE id = 1 FOR UPDATE;  -- T1
INSERT INTO orders VALUES (1, 'rejected');                     -- T1
COMMIT;                                                        -- T1
SELECT available FROM stock WHERE id = 1;                      -- after
