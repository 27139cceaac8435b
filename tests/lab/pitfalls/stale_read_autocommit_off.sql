-- Stale read with autocommit off
-- id: P18
-- what: A connection answers one request and later, out of the pool, another one, with the stock of the first. With
--       autocommit off the first SELECT has begun a transaction that nobody ends, and its snapshot stays; at
--       SERIALIZABLE its locks do too, and it is the seller who waits.
-- cure: Autocommit on, and BEGIN where a transaction is meant.
-- relies: worker/database/connections.py
-- harm: after: SELECT reply FROM replies  -> ('in stock')

-- setup
CREATE TABLE stock (product_id INT PRIMARY KEY, available INT);
CREATE TABLE replies (reply VARCHAR(16));
INSERT INTO stock VALUES (1, 10);

-- schedule: wrong
SET autocommit = 0;                                                        -- T1
SELECT available FROM stock;                                               -- T1
UPDATE stock SET available = 0;                                            -- T2
SELECT available INTO @available FROM stock;                               -- T1
INSERT INTO replies VALUES (IF(@available > 0, 'in stock', 'sold out'));   -- T1
COMMIT;                                                                    -- T1
SELECT reply FROM replies;                                                 -- after

-- schedule: right
SET autocommit = 1;                                                        -- T1
SELECT available FROM stock;                                               -- T1
UPDATE stock SET available = 0;                                            -- T2
SELECT available INTO @available FROM stock;                               -- T1
INSERT INTO replies VALUES (IF(@available > 0, 'in stock', 'sold out'));   -- T1
COMMIT;                                                                    -- T1
SELECT reply FROM replies;                                                 -- after
