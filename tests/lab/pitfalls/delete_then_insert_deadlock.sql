-- Deadlock of delete and insert: replacing the lines of an order
-- id: P30
-- what: A DELETE that finds nothing locks the gap where the lines would be. Two orders that are both new share that
--       gap, and the INSERTs of their lines wait for each other.
-- cure: READ COMMITTED locks no gap here; or delete only lines that were seen to exist, by primary key.
-- relies: nothing: the lines of an order are inserted once and never replaced
-- harm: <error 1213>

-- setup
CREATE TABLE order_lines (order_id INT, product_id INT, quantity INT, PRIMARY KEY (order_id, product_id));
INSERT INTO order_lines VALUES (1, 1, 10), (9, 1, 10);

-- schedule: wrong
BEGIN;                                            -- T1
BEGIN;                                            -- T2
DELETE FROM order_lines WHERE order_id = 4;       -- T1
DELETE FROM order_lines WHERE order_id = 5;       -- T2
INSERT INTO order_lines VALUES (4, 1, 2);         -- T1
INSERT INTO order_lines VALUES (5, 1, 2);         -- T2
COMMIT;                                           -- T1
COMMIT;                                           -- T2
SELECT order_id, quantity FROM order_lines;       -- after

-- schedule: right
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;   -- T1
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;   -- T2
BEGIN;                                            -- T1
BEGIN;                                            -- T2
DELETE FROM order_lines WHERE order_id = 4;       -- T1
DELETE FROM order_lines WHERE order_id = 5;       -- T2
INSERT INTO order_lines VALUES (4, 1, 2);         -- T1
INSERT INTO order_lines VALUES (5, 1, 2);         -- T2
COMMIT;                                           -- T1
COMMIT;                                           -- T2
SELECT order_id, quantity FROM order_lines;       -- after
