-- Internal consistency violation
-- id: P13
-- what: A transaction prints a label for each of the two orders that it sees, and twice it sees two; its UPDATE then
--       ships three. A write goes to the newest rows whatever the snapshot says, and what it has written is in the
--       snapshot from then on.
-- cure: Claim the rows with the UPDATE first, under a mark of one's own, and then read what was claimed.
-- relies: nothing: no statement of sql/ changes rows by a condition, only by the ids that were locked
-- harm: after: SELECT printed, (SELECT COUNT(*) FROM orders WHERE batch = 1) AS shipped FROM labels  -> (2, 3)

-- setup
CREATE TABLE orders (order_id INT PRIMARY KEY, batch INT);
CREATE TABLE labels (batch INT PRIMARY KEY, printed INT);
INSERT INTO orders VALUES (1, NULL), (2, NULL);

-- schedule: wrong
BEGIN;                                                                                  -- T1
SELECT COUNT(*) INTO @printed FROM orders WHERE batch IS NULL;                          -- T1
INSERT INTO orders VALUES (3, NULL);                                                    -- T2
SELECT COUNT(*) FROM orders;                                                            -- T1
INSERT INTO labels VALUES (1, @printed);                                                -- T1
UPDATE orders SET batch = 1 WHERE batch IS NULL;                                        -- T1
SELECT COUNT(*) FROM orders;                                                            -- T1
COMMIT;                                                                                 -- T1
SELECT printed, (SELECT COUNT(*) FROM orders WHERE batch = 1) AS shipped FROM labels;   -- after

-- schedule: right
BEGIN;                                                                                  -- T1
UPDATE orders SET batch = 1 WHERE batch IS NULL;                                        -- T1
INSERT INTO orders VALUES (3, NULL);                                                    -- T2
SELECT COUNT(*) INTO @printed FROM orders WHERE batch = 1;                              -- T1
INSERT INTO labels VALUES (1, @printed);                                                -- T1
COMMIT;                                                                                 -- T1
SELECT printed, (SELECT COUNT(*) FROM orders WHERE batch = 1) AS shipped FROM labels;   -- after
