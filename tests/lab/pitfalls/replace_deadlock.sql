-- Deadlock of two REPLACEs
-- id: P36
-- what: REPLACE deletes the row that has its key and inserts a new one, and holds it exclusively from then on. Two
--       transactions that replace the same rows in different orders deadlock.
-- cure: Sort the rows by primary key; and rather upsert, because REPLACE deletes, foreign keys' cascades and all.
-- relies: jobs/orders/add_catalogue.py
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, price INT);
INSERT INTO stock VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                               -- T1
BEGIN;                               -- T2
REPLACE INTO stock VALUES (1, 11);   -- T1
REPLACE INTO stock VALUES (2, 22);   -- T2
REPLACE INTO stock VALUES (2, 21);   -- T1
REPLACE INTO stock VALUES (1, 12);   -- T2
COMMIT;                              -- T1
COMMIT;                              -- T2
SELECT id, price FROM stock;         -- after

-- schedule: right
BEGIN;                               -- T1
BEGIN;                               -- T2
REPLACE INTO stock VALUES (1, 11);   -- T1
REPLACE INTO stock VALUES (1, 12);   -- T2
REPLACE INTO stock VALUES (2, 21);   -- T1
COMMIT;                              -- T1
REPLACE INTO stock VALUES (2, 22);   -- T2
COMMIT;                              -- T2
SELECT id, price FROM stock;         -- after
