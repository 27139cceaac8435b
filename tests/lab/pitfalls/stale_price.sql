-- Price read outside the lock
-- id: X02
-- what: The price is read before the transaction, and changes before the stock is locked. The order is sold at a
--       price that was no longer true when it was placed, and no lock could have told.
-- cure: Read the price with the row that is locked, and write it into the order line.
-- relies: sql/orders/locks.sql, jobs/orders/place_orders.py
-- harm: after: SELECT product, unit_price FROM order_lines  -> (1, 500)

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT, price INT);
INSERT INTO stock VALUES (1, 10, 500);
CREATE TABLE order_lines (product INT, unit_price INT);

-- schedule: wrong
SELECT price FROM stock WHERE id = 1;                        -- T1
UPDATE stock SET price = 700 WHERE id = 1;                   -- T2
BEGIN;                                                       -- T1
SELECT available FROM stock WHERE id = 1 FOR UPDATE;         -- T1
INSERT INTO order_lines VALUES (1, 500);                     -- T1
UPDATE stock SET available = available - 1 WHERE id = 1;     -- T1
COMMIT;                                                      -- T1
SELECT product, unit_price FROM order_lines;                 -- after

-- schedule: right
UPDATE stock SET price = 700 WHERE id = 1;                   -- T2
BEGIN;                                                       -- T1
SELECT available, price FROM stock WHERE id = 1 FOR UPDATE;  -- T1
INSERT INTO order_lines VALUES (1, 700);                     -- T1
UPDATE stock SET available = available - 1 WHERE id = 1;     -- T1
COMMIT;                                                      -- T1
SELECT product, unit_price FROM order_lines;                 -- after
