-- Dual write to two servers
-- id: P64
-- what: T1 stands for the shop's server and T2 for the payment's; each commits for itself. Whoever dies between the
--       two leaves an order that nobody will ever charge for.
-- cure: An outbox row in the order's own transaction; a relay carries it over, as often as it takes, under its id.
-- relies: jobs/outbox.py, sql/outbox.sql
-- harm: after: SELECT available, (SELECT COUNT(*) FROM payments) FROM stock  -> (9, 0)

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10);
CREATE TABLE outbox (id INT PRIMARY KEY, amount INT);
CREATE TABLE payments (id INT PRIMARY KEY, amount INT);

-- schedule: wrong
BEGIN;                                                         -- T1
BEGIN;                                                         -- T2
UPDATE stock SET available = available - 1 WHERE id = 1;       -- T1
INSERT INTO payments VALUES (1, 500);                          -- T2
COMMIT;                                                        -- T1
-- Here the worker dies, and with it its open transaction.
ROLLBACK;                                                      -- T2
SELECT available, (SELECT COUNT(*) FROM payments) FROM stock;  -- after

-- schedule: right
BEGIN;                                                         -- T1
UPDATE stock SET available = available - 1 WHERE id = 1;       -- T1
INSERT INTO outbox VALUES (1, 500);                            -- T1
COMMIT;                                                        -- T1
BEGIN;                                                         -- T2
INSERT INTO payments VALUES (1, 500);                          -- T2
-- Here the relay dies; the next one finds the row in the outbox again.
ROLLBACK;                                                      -- T2
SELECT id, amount FROM outbox;                                 -- T1
INSERT IGNORE INTO payments VALUES (1, 500);                   -- T2
-- Once more, as if this answer too had been lost.
INSERT IGNORE INTO payments VALUES (1, 500);                   -- T2
DELETE FROM outbox WHERE id = 1;                               -- T1
SELECT available, (SELECT COUNT(*) FROM payments) FROM stock;  -- after
