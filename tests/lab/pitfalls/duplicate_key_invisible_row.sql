-- Duplicate key of an invisible row
-- id: P17
-- what: Two requests for one order find it missing and insert it; the second gets error 1062, looks again, and still
--       finds nothing. The unique index knows the newest row, but the second look reads the snapshot that the first
--       look took.
-- cure: Insert first and look afterwards, when the transaction that got error 1062 has ended.
-- relies: jobs/orders/place_orders.py, jobs/orders/known_orders.py, jobs/orders/restock.py
-- harm: after: SELECT reply FROM replies  -> ('unknown')

-- setup
CREATE TABLE orders (order_id INT PRIMARY KEY, status VARCHAR(16));
CREATE TABLE replies (reply VARCHAR(16));

-- schedule: wrong
BEGIN;                                                      -- T1
BEGIN;                                                      -- T2
SELECT status FROM orders WHERE order_id = 7;               -- T1
SELECT status FROM orders WHERE order_id = 7;               -- T2
INSERT INTO orders VALUES (7, 'placed');                    -- T1
INSERT INTO orders VALUES (7, 'placed');                    -- T2
COMMIT;                                                     -- T1
SET @reply = 'unknown';                                     -- T2
SELECT status INTO @reply FROM orders WHERE order_id = 7;   -- T2
INSERT INTO replies VALUES (@reply);                        -- T2
COMMIT;                                                     -- T2
SELECT reply FROM replies;                                  -- after

-- schedule: right
BEGIN;                                                      -- T1
BEGIN;                                                      -- T2
INSERT INTO orders VALUES (7, 'placed');                    -- T1
INSERT INTO orders VALUES (7, 'placed');                    -- T2
COMMIT;                                                     -- T1
ROLLBACK;                                                   -- T2
SET @reply = 'unknown';                                     -- T2
SELECT status INTO @reply FROM orders WHERE order_id = 7;   -- T2
INSERT INTO replies VALUES (@reply);                        -- T2
SELECT reply FROM replies;                                  -- after
