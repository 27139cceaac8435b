-- LIMIT 1 FOR UPDATE locks every row that it passes
-- id: P42
-- what: LIMIT counts the rows that match, but the lock is taken on every row that is looked at on the way. Orders that
--       were done long ago stay locked while somebody works on the next new one.
-- cure: An index that leads straight to the row: the column of the condition, then the column of the order.
-- relies: nothing: no locking read has a LIMIT; each names its rows by primary key
-- harm: WHERE id = 1  <waits>

-- setup
CREATE TABLE orders (id INT PRIMARY KEY, status VARCHAR(10), note VARCHAR(10));
INSERT INTO orders VALUES (1, 'done', ''), (2, 'done', ''), (3, 'new', ''), (4, 'new', '');

-- schedule: wrong
BEGIN;                                                                                               -- T1
SELECT id FROM orders WHERE status = 'new' ORDER BY id LIMIT 1 FOR UPDATE;                           -- T1
UPDATE orders SET note = 'thanks' WHERE id = 1;                                                      -- T2
COMMIT;                                                                                              -- T1
SELECT id, note FROM orders;                                                                         -- after

-- schedule: right
CREATE INDEX by_status ON orders (status, id);                                                       -- T1
BEGIN;                                                                                               -- T1
SELECT id FROM orders FORCE INDEX (by_status) WHERE status = 'new' ORDER BY id LIMIT 1 FOR UPDATE;   -- T1
UPDATE orders SET note = 'thanks' WHERE id = 1;                                                      -- T2
COMMIT;                                                                                              -- T1
SELECT id, note FROM orders;                                                                         -- after
