-- The two users of Lockstep, on MySQL 8.0 and newer and MariaDB 10.6 and newer. To be run once, by an administrator,
-- before `lockstep migrate`, with passwords of your own for OWNER_PASSWORD and WORKER_PASSWORD (and, where they differ,
-- your name for the database, and instead of '%' the addresses that your workers come from).

CREATE DATABASE IF NOT EXISTS lockstep CHARACTER SET utf8mb4;

-- Makes the tables: LOCKSTEP_MIGRATION_URL, for `lockstep migrate` alone.
CREATE USER IF NOT EXISTS 'lockstep_owner'@'%' IDENTIFIED BY 'OWNER_PASSWORD';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES ON lockstep.* TO 'lockstep_owner'@'%';

-- Runs the workers and all other commands: LOCKSTEP_MYSQL_URL. It can make, change and drop no table, and sees no other
-- database. (KILL needs no right: a worker ends none but sessions of its own user.)
CREATE USER IF NOT EXISTS 'lockstep'@'%' IDENTIFIED BY 'WORKER_PASSWORD';
GRANT SELECT, INSERT, UPDATE, DELETE ON lockstep.* TO 'lockstep'@'%';

-- Only if you want `lockstep deadlocks`, and deadlocks explained in the log. It shows the statements of *every* session of
-- the server; without it a worker says once that deadlocks are not explained, and places orders just the same.
-- GRANT PROCESS ON *.* TO 'lockstep'@'%';
