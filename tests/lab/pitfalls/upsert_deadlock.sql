-- Deadlock of two upserts
-- id: P35
-- what: INSERT ... ON DUPLICATE KEY UPDATE locks each row it meets exclusively, in the order of its list. Two
--       catalogues that name the same products in different orders deadlock, as any two updates would.
-- cure: Sort the rows of an upsert by primary key.
-- relies: jobs/orders/add_catalogue.py
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, quantity INT);
INSERT INTO stock VALUES (1, 10), (2, 20);

-- schedule: wrong
BEGIN;                                                                             -- T1
BEGIN;                                                                             -- T2
INSERT INTO stock VALUES (1, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T1
INSERT INTO stock VALUES (2, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T2
INSERT INTO stock VALUES (2, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T1
INSERT INTO stock VALUES (1, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T2
COMMIT;                                                                            -- T1
COMMIT;                                                                            -- T2
SELECT id, quantity FROM stock;                                                    -- after

-- schedule: right
BEGIN;                                                                             -- T1
BEGIN;                                                                             -- T2
INSERT INTO stock VALUES (1, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T1
INSERT INTO stock VALUES (1, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T2
INSERT INTO stock VALUES (2, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T1
COMMIT;                                                                            -- T1
INSERT INTO stock VALUES (2, 7) ON DUPLICATE KEY UPDATE quantity = quantity + 7;   -- T2
COMMIT;                                                                            -- T2
SELECT id, quantity FROM stock;                                                    -- after
