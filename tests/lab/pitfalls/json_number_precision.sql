-- JSON numbers beyond 2^53
-- id: X08
-- what: Whoever reads a JSON number as floating point, as JavaScript does and as `+ 0` does to text in SQL, loses the
--       last digits above 9007199254740992. The stock of the neighbouring product is taken.
-- cure: Read ids as whole numbers of 64 bits: JSON_TABLE with a BIGINT column.
-- relies: sql/orders/locks.sql, sql/orders/stock.sql
-- harm: -> (9007199254740992, 9) (9007199254740993, 10)

-- setup
CREATE TABLE stock (id BIGINT UNSIGNED PRIMARY KEY, available INT);
INSERT INTO stock VALUES (9007199254740992, 10), (9007199254740993, 10);
CREATE TABLE jobs (id INT PRIMARY KEY, body JSON);
INSERT INTO jobs VALUES (1, '{"product": 9007199254740993}');

-- schedule: wrong
SELECT JSON_UNQUOTE(JSON_EXTRACT(body, '$.product')) + 0 INTO @product FROM jobs;                                  -- T1
UPDATE stock SET available = available - 1 WHERE id = @product;                                                    -- T1
SELECT id, available FROM stock;                                                                                   -- after

-- schedule: right
SELECT product INTO @product FROM jobs, JSON_TABLE(body, '$' COLUMNS (product BIGINT PATH '$.product')) AS asked;  -- T1
UPDATE stock SET available = available - 1 WHERE id = @product;                                                    -- T1
SELECT id, available FROM stock;                                                                                   -- after
