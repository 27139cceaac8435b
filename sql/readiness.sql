-- name: applied_migrations
-- dbmate's own table: the versions of the migrations that this database has.
SELECT version FROM schema_migrations
