-- One forgotten transaction and one ALTER stop the table
-- id: P49
-- what: A transaction that has only read keeps a metadata lock until it ends, so an ALTER TABLE waits for it. Behind
--       that waiting ALTER every new statement on the table waits too, even a plain SELECT.
-- cure: Read outside of transactions or end them at once; give DDL a small lock_wait_timeout, so that it gives up.
-- relies: worker/database/connections.py, worker/database/transactions.py
-- harm: T3: SELECT available FROM stock WHERE id = 1  <waits>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10);

-- schedule: wrong
BEGIN;                                     -- T1
SELECT available FROM stock WHERE id = 1;  -- T1
ALTER TABLE stock ADD COLUMN price INT;    -- T2
SELECT available FROM stock WHERE id = 1;  -- T3
COMMIT;                                    -- T1

-- schedule: right
SELECT available FROM stock WHERE id = 1;  -- T1
SET SESSION lock_wait_timeout = 1;         -- T2
ALTER TABLE stock ADD COLUMN price INT;    -- T2
SELECT available FROM stock WHERE id = 1;  -- T3
