-- A session that is not strict
-- id: X06
-- what: Without strict mode a number that does not fit is made to fit, with a warning that no driver raises. The
--       customer ordered 300 and is sent 255.
-- cure: sql_mode = 'TRADITIONAL' on every connection, whatever the server's default: the statement is error 1264.
-- relies: worker/database/connections.py
-- harm: after: SELECT product, quantity FROM order_lines  -> (1, 255)

-- setup
CREATE TABLE order_lines (product INT PRIMARY KEY, quantity TINYINT UNSIGNED);
CREATE TABLE refusals (product INT PRIMARY KEY, quantity INT);

-- schedule: wrong
SET SESSION sql_mode = '';                   -- T1
INSERT INTO order_lines VALUES (1, 300);     -- T1
SELECT product, quantity FROM order_lines;   -- after

-- schedule: right
SET SESSION sql_mode = 'TRADITIONAL';        -- T1
INSERT INTO order_lines VALUES (1, 300);     -- T1
INSERT INTO refusals VALUES (1, 300);        -- T1
SELECT product, quantity FROM order_lines;   -- after
