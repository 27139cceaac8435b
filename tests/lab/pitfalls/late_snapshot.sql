-- Snapshot at the first read
-- id: P14
-- what: A closing report begins its transaction at the hour, and still has the order that came after. BEGIN takes no
--       snapshot: the first plain SELECT does, whenever that comes.
-- cure: START TRANSACTION WITH CONSISTENT SNAPSHOT at REPEATABLE READ, where the moment matters.
-- relies: nothing: no job needs the moment of its BEGIN, and all of them read under locks
-- harm: after: SELECT total FROM reports  -> (100)

-- setup
CREATE TABLE orders (order_id INT PRIMARY KEY, total INT);
CREATE TABLE reports (total INT);
INSERT INTO orders VALUES (1, 10);

-- schedule: wrong
BEGIN;                                       -- T1
INSERT INTO orders VALUES (2, 90);           -- T2
SELECT SUM(total) INTO @total FROM orders;   -- T1
INSERT INTO reports VALUES (@total);         -- T1
COMMIT;                                      -- T1
SELECT total FROM reports;                   -- after

-- schedule: right
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;   -- T1
START TRANSACTION WITH CONSISTENT SNAPSHOT;        -- T1
INSERT INTO orders VALUES (2, 90);                 -- T2
SELECT SUM(total) INTO @total FROM orders;         -- T1
INSERT INTO reports VALUES (@total);               -- T1
COMMIT;                                            -- T1
SELECT total FROM reports;                         -- after
