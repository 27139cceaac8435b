-- Ambiguous commit
-- id: P62
-- what: The connection breaks after COMMIT was sent and before its answer came: the work is durable, and the client
--       cannot know. It tries again, and the customer has two orders.
-- cure: The order's id comes from the caller: the second INSERT is error 1062, and the first outcome is read instead.
-- relies: worker/queue/idempotency.py, sql/orders/orders.sql
-- harm: after: SELECT available FROM stock  -> (4)

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10);
CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, status VARCHAR(10));
CREATE TABLE keyed_orders (id INT PRIMARY KEY, status VARCHAR(10));

-- schedule: wrong
BEGIN;                                                     -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T1
INSERT INTO orders (status) VALUES ('placed');             -- T1
COMMIT;                                                    -- T1
-- The connection is lost; nobody hears that it was committed.
BEGIN;                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T2
INSERT INTO orders (status) VALUES ('placed');             -- T2
COMMIT;                                                    -- T2
SELECT available FROM stock;                               -- after

-- schedule: right
BEGIN;                                                     -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T1
INSERT INTO keyed_orders VALUES (501, 'placed');           -- T1
COMMIT;                                                    -- T1
-- The connection is lost; nobody hears that it was committed.
BEGIN;                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T2
INSERT INTO keyed_orders VALUES (501, 'placed');           -- T2
ROLLBACK;                                                  -- T2
SELECT status FROM keyed_orders WHERE id = 501;            -- T2
SELECT available FROM stock;                               -- after
