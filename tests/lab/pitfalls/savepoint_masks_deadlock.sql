-- A savepoint masks the deadlock
-- id: P55
-- what: A deadlock takes the savepoints with the rest of the transaction, so the clean-up of a nested block fails
--       with error 1305. The caller sees that one in the place of 1213, does not know it as worth another attempt,
--       and gives up.
-- cure: No savepoints; after a conflict roll back everything, and run the whole transaction again.
-- relies: worker/database/transactions.py
-- harm: <error 1305>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                                                     -- T1
BEGIN;                                                     -- T2
UPDATE stock SET available = available + 5 WHERE id = 1;   -- T1
UPDATE stock SET available = available - 3 WHERE id = 2;   -- T2
SAVEPOINT second_line;                                     -- T2
UPDATE stock SET available = available + 5 WHERE id = 2;   -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T2
ROLLBACK TO SAVEPOINT second_line;                         -- T2
ROLLBACK;                                                  -- T2
COMMIT;                                                    -- T1
SELECT id, available FROM stock;                           -- after

-- schedule: right
BEGIN;                                                     -- T1
BEGIN;                                                     -- T2
UPDATE stock SET available = available + 5 WHERE id = 1;   -- T1
UPDATE stock SET available = available - 3 WHERE id = 2;   -- T2
UPDATE stock SET available = available + 5 WHERE id = 2;   -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T2
ROLLBACK;                                                  -- T2
COMMIT;                                                    -- T1
BEGIN;                                                     -- T2
UPDATE stock SET available = available - 3 WHERE id = 2;   -- T2
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T2
COMMIT;                                                    -- T2
SELECT id, available FROM stock;                           -- after
