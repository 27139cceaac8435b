-- utf8mb3 has no emoji
-- id: X07
-- what: MySQL's old `utf8` holds three bytes a character, and an emoji has four. A strict session refuses the review
--       with error 1366; one that is not strict keeps it with a question mark.
-- cure: utf8mb4 for tables and connections.
-- relies: sql/migrations/20261122130000_create_orders.sql, worker/database/connections.py
-- harm: <error 1366>

-- setup
CREATE TABLE reviews (id INT PRIMARY KEY, body VARCHAR(50) CHARACTER SET utf8mb3);
CREATE TABLE better_reviews (id INT PRIMARY KEY, body VARCHAR(50) CHARACTER SET utf8mb4);

-- schedule: wrong
INSERT INTO reviews VALUES (1, 'good 👍');          -- T1
SET SESSION sql_mode = '';                         -- T2
INSERT INTO reviews VALUES (2, 'good 👍');          -- T2
SELECT id, body FROM reviews;                      -- after

-- schedule: right
INSERT INTO better_reviews VALUES (1, 'good 👍');   -- T1
SET SESSION sql_mode = '';                         -- T2
INSERT INTO better_reviews VALUES (2, 'good 👍');   -- T2
SELECT id, body FROM better_reviews;               -- after
