-- What `lockstep deadlocks` asks the server, outside of any transaction. MySQL and MariaDB tell the locks of
-- this moment in different tables: what one does not know is left out.

-- name: innodb_status
-- The monitor's text, with the latest deadlock; it needs the PROCESS privilege.
SHOW ENGINE INNODB STATUS

-- name: locks_on_mysql
-- What the transactions of a deadlock still lock.
SELECT ENGINE_TRANSACTION_ID AS transaction_id, CONCAT(OBJECT_SCHEMA, '.', OBJECT_NAME) AS table_name,
       INDEX_NAME AS index_name, LOCK_TYPE AS lock_type, LOCK_MODE AS lock_mode, LOCK_DATA AS lock_data,
       LOCK_STATUS AS lock_status
  FROM performance_schema.data_locks
 WHERE ENGINE_TRANSACTION_ID IN (
         SELECT id FROM JSON_TABLE(%(transaction_ids)s, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS ids
       )

-- name: locks_on_mariadb
-- The same; MariaDB lists only locks that somebody waits for.
SELECT lock_trx_id AS transaction_id, lock_table AS table_name, lock_index AS index_name,
       lock_type, lock_mode, lock_data,
       IF(lock_id IN (SELECT requested_lock_id FROM information_schema.INNODB_LOCK_WAITS), 'WAITING', 'GRANTED')
         AS lock_status
  FROM information_schema.INNODB_LOCKS
 WHERE lock_trx_id IN (
         SELECT id FROM JSON_TABLE(%(transaction_ids)s, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS ids
       )

-- name: foreign_key_parents
-- The tables of a database that foreign keys point at: an insert of a child locks a row of them.
SELECT DISTINCT CONCAT(UNIQUE_CONSTRAINT_SCHEMA, '.', REFERENCED_TABLE_NAME) AS table_name
  FROM information_schema.REFERENTIAL_CONSTRAINTS
 WHERE UNIQUE_CONSTRAINT_SCHEMA = %(database)s
