-- Deadlock of two lock orders
-- id: P21
-- what: Two transactions lock the same two rows, one in ascending and one in descending order. Each holds what the
--       other wants, so the server rolls one of them back with error 1213.
-- cure: One lock order for everybody: ascending ids.
-- relies: jobs/orders/locks.py
-- harm: <error 1213>

-- setup
CREATE TABLE test (id INT PRIMARY KEY, value INT);
INSERT INTO test VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                                            -- T1
BEGIN;                                            -- T2
UPDATE test SET value = value + 1 WHERE id = 1;   -- T1
UPDATE test SET value = value + 1 WHERE id = 2;   -- T2
UPDATE test SET value = value + 1 WHERE id = 2;   -- T1
UPDATE test SET value = value + 1 WHERE id = 1;   -- T2
COMMIT;                                           -- T1
COMMIT;                                           -- T2
SELECT id, value FROM test;                       -- after

-- schedule: right
BEGIN;                                            -- T1
BEGIN;                                            -- T2
UPDATE test SET value = value + 1 WHERE id = 1;   -- T1
UPDATE test SET value = value + 1 WHERE id = 1;   -- T2
UPDATE test SET value = value + 1 WHERE id = 2;   -- T1
COMMIT;                                           -- T1
UPDATE test SET value = value + 1 WHERE id = 2;   -- T2
COMMIT;                                           -- T2
SELECT id, value FROM test;                       -- after
