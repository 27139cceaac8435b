-- Swallowed deadlock
-- id: P54
-- what: Error 1213 has rolled back the whole transaction, but the session takes further statements as if nothing had
--       been: each of them commits by itself. The order is recorded, and its stock was never taken.
-- cure: Refuse every statement after an error, and run the whole transaction again.
-- relies: worker/database/transactions.py, worker/database/retry.py
-- harm: after: SELECT available, (SELECT COUNT(*) FROM orders) FROM stock WHERE id = 2  -> (20, 1)

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10), (2, 20);
CREATE TABLE orders (id INT PRIMARY KEY, status VARCHAR(10));

-- schedule: wrong
BEGIN;                                                                     -- T1
BEGIN;                                                                     -- T2
UPDATE stock SET available = available + 5 WHERE id = 1;                   -- T1
UPDATE stock SET available = available - 3 WHERE id = 2;                   -- T2
SELECT available FROM stock WHERE id = 2 FOR UPDATE;                       -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;                   -- T2
INSERT INTO orders VALUES (1, 'placed');                                   -- T2
COMMIT;                                                                    -- T2
COMMIT;                                                                    -- T1
SELECT available, (SELECT COUNT(*) FROM orders) FROM stock WHERE id = 2;   -- after

-- schedule: right
BEGIN;                                                                     -- T1
BEGIN;                                                                     -- T2
UPDATE stock SET available = available + 5 WHERE id = 1;                   -- T1
UPDATE stock SET available = available - 3 WHERE id = 2;                   -- T2
SELECT available FROM stock WHERE id = 2 FOR UPDATE;                       -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;                   -- T2
COMMIT;                                                                    -- T1
BEGIN;                                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;                   -- T2
UPDATE stock SET available = available - 3 WHERE id = 1;                   -- T2
INSERT INTO orders VALUES (1, 'placed');                                   -- T2
COMMIT;                                                                    -- T2
SELECT available, (SELECT COUNT(*) FROM orders) FROM stock WHERE id = 2;   -- after
