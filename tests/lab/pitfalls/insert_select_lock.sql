-- INSERT ... SELECT locks what it reads
-- id: P44
-- what: The SELECT inside an INSERT is no snapshot read: under REPEATABLE READ it takes a shared lock on every row it
--       reads. A report over the stock then stops whoever wants to sell from it, until the report commits.
-- cure: READ COMMITTED for such a transaction; or a plain SELECT first, and an INSERT of what it gave.
-- relies: nothing: where sql/ inserts from a SELECT, it reads JSON_TABLE and no table
-- harm: WHERE id = 1  <waits>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, quantity INT);
CREATE TABLE report (total INT);
INSERT INTO stock VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                                                         -- T1
INSERT INTO report SELECT SUM(quantity) FROM stock;            -- T1
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;         -- T2
COMMIT;                                                        -- T1
SELECT total, (SELECT SUM(quantity) FROM stock) FROM report;   -- after

-- schedule: right
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;                -- T1
BEGIN;                                                         -- T1
INSERT INTO report SELECT SUM(quantity) FROM stock;            -- T1
UPDATE stock SET quantity = quantity - 1 WHERE id = 1;         -- T2
COMMIT;                                                        -- T1
SELECT total, (SELECT SUM(quantity) FROM stock) FROM report;   -- after
