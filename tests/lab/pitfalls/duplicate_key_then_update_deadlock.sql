-- Deadlock of insert, duplicate key, update
-- id: P33
-- what: An INSERT that fails with error 1062 keeps a shared lock on the row it met. Two transactions that both answer
--       1062 with an UPDATE of that row wait for each other's shared lock.
-- cure: INSERT ... ON DUPLICATE KEY UPDATE, which locks exclusively at once; or on 1062 end the transaction, and begin
--       a new one.
-- relies: worker/database/transactions.py, sql/orders/stock.sql
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, quantity INT);
INSERT INTO stock VALUES (1, 10);

-- schedule: wrong
BEGIN;                                                                             -- T1
BEGIN;                                                                             -- T2
INSERT INTO stock VALUES (1, 7);                                                   -- T1
INSERT INTO stock VALUES (1, 7);                                                   -- T2
UPDATE stock SET quantity = quantity + 7 WHERE id = 1;                             -- T1
UPDATE stock SET quantity = quantity + 7 WHERE id = 1;                             -- T2
COMMIT;                                                                            -- T1
COMMIT;                                                                            -- T2
SELECT id, quantity FROM stock;                                                    -- after

-- schedule: right
BEGIN;                                                                             -- T1
BEGIN;                                                                             -- T2
INSERT INTO stock VALUES (1, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T1
INSERT INTO stock VALUES (1, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T2
COMMIT;                                                                            -- T1
COMMIT;                                                                            -- T2
SELECT id, quantity FROM stock;                                                    -- after
