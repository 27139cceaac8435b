-- Circular information flow
-- id: P04
-- what: Each of two transactions reads what the other has written and not yet committed, so each would have to come
--       after the other. READ UNCOMMITTED permits it, and no order of the two explains what they saw.
-- cure: READ COMMITTED or a higher level. SERIALIZABLE makes the two readers wait for each other, and one of them
--       needs a retry after error 1213.
-- relies: worker/database/transactions.py
-- harm: T1: SELECT value FROM test WHERE id = 2  -> (22)

-- setup
CREATE TABLE test (id INT PRIMARY KEY, value INT);
INSERT INTO test VALUES (1, 10), (2, 20);

-- schedule: wrong
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;   -- T1
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;   -- T2
BEGIN;                                              -- T1
BEGIN;                                              -- T2
UPDATE test SET value = 11 WHERE id = 1;            -- T1
UPDATE test SET value = 22 WHERE id = 2;            -- T2
SELECT value FROM test WHERE id = 2;                -- T1
SELECT value FROM test WHERE id = 1;                -- T2
COMMIT;                                             -- T1
COMMIT;                                             -- T2
SELECT id, value FROM test;                         -- after

-- schedule: right
BEGIN;                                     -- T1
BEGIN;                                     -- T2
UPDATE test SET value = 11 WHERE id = 1;   -- T1
UPDATE test SET value = 22 WHERE id = 2;   -- T2
SELECT value FROM test WHERE id = 2;       -- T1
SELECT value FROM test WHERE id = 1;       -- T2
COMMIT;                                    -- T1
COMMIT;                                    -- T2
SELECT id, value FROM test;                -- after
