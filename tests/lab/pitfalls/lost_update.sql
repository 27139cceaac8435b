-- Lost update
-- id: P08
-- what: Two transactions read the same row and each writes back what it made of it. The second one waits for the
--       first, and then overwrites it without a word: its plain SELECT was a snapshot, not a lock.
-- cure: Read with FOR UPDATE, as the first statement of the transaction.
-- relies: jobs/orders/locks.py
-- harm: after: SELECT value FROM test WHERE id = 1  -> (12)

-- setup
CREATE TABLE test (id INT PRIMARY KEY, value INT);
INSERT INTO test VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                                            -- T1
BEGIN;                                            -- T2
SELECT value FROM test WHERE id = 1;              -- T1
SELECT value FROM test WHERE id = 1;              -- T2
UPDATE test SET value = 10 + 1 WHERE id = 1;      -- T1
UPDATE test SET value = 10 + 2 WHERE id = 1;      -- T2
COMMIT;                                           -- T1
COMMIT;                                           -- T2
SELECT value FROM test WHERE id = 1;              -- after

-- schedule: right
BEGIN;                                            -- T1
BEGIN;                                            -- T2
SELECT value FROM test WHERE id = 1 FOR UPDATE;   -- T1
SELECT value FROM test WHERE id = 1 FOR UPDATE;   -- T2
UPDATE test SET value = 10 + 1 WHERE id = 1;      -- T1
COMMIT;                                           -- T1
UPDATE test SET value = 11 + 2 WHERE id = 1;      -- T2
COMMIT;                                           -- T2
SELECT value FROM test WHERE id = 1;              -- after
