-- Deadlock of user locks
-- id: P48
-- what: Two sessions take the same two GET_LOCK names in opposite orders; the one that closes the circle gets 1213 on
--       MariaDB and 3058 on MySQL. A rollback does not give up what it holds: user locks belong to the session.
-- cure: One order of the names, an explicit release on every way out, or row locks in their stead.
-- relies: nothing: it uses no user lock
-- harm: T2: SELECT GET_LOCK('product 1', 9)  <error

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, available INT);

-- schedule: wrong
SELECT GET_LOCK('product 1', 9);   -- T1
SELECT GET_LOCK('product 2', 9);   -- T2
SELECT GET_LOCK('product 2', 9);   -- T1
SELECT GET_LOCK('product 1', 9);   -- T2
ROLLBACK;                          -- T2
SELECT GET_LOCK('product 2', 0);   -- T3
SELECT RELEASE_LOCK('product 2');  -- T2
SELECT RELEASE_LOCK('product 2');  -- T1
SELECT RELEASE_LOCK('product 1');  -- T1

-- schedule: right
SELECT GET_LOCK('product 1', 9);   -- T1
SELECT GET_LOCK('product 1', 9);   -- T2
SELECT GET_LOCK('product 2', 9);   -- T1
SELECT RELEASE_LOCK('product 2');  -- T1
SELECT RELEASE_LOCK('product 1');  -- T1
SELECT GET_LOCK('product 2', 9);   -- T2
SELECT RELEASE_LOCK('product 2');  -- T2
SELECT RELEASE_LOCK('product 1');  -- T2
