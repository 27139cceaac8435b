-- Idle in transaction
-- id: P60
-- what: A transaction takes the stock and then asks the payment service before it commits. As long as that takes, the
--       server has nothing to do for it, and everybody else who wants the product waits or gives up with error 1205.
-- cure: Nothing but statements between BEGIN and COMMIT: ask the payment service before, or later from an outbox.
-- relies: jobs/transaction.py, jobs/outbox.py, worker/database/transactions.py
-- harm: T2: UPDATE stock SET available = available - 1 WHERE id = 1  <waits>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);
INSERT INTO stock VALUES (1, 10);
CREATE TABLE outbox (id INT PRIMARY KEY, kind VARCHAR(20));

-- schedule: wrong
BEGIN;                                                     -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T1
-- Here T1 waits for the payment service.
SET SESSION innodb_lock_wait_timeout = 1;                  -- T2
UPDATE stock SET available = available - 1 WHERE id = 1;   -- T2
SELECT available FROM stock WHERE id = 1;                  -- after
-- The payment service has answered.
COMMIT;                                                    -- T1
SELECT available FROM stock WHERE id = 1;                  -- after

-- schedule: right
BEGIN;                                                     -- T1
UPDATE stock SET available = available - 3 WHERE id = 1;   -- T1
INSERT INTO outbox VALUES (1, 'payment due');              -- T1
COMMIT;                                                    -- T1
-- Here the reader of the outbox waits for the payment service.
UPDATE stock SET available = available - 1 WHERE id = 1;   -- T2
SELECT available FROM stock WHERE id = 1;                  -- after
