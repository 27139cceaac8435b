-- name: add_api_key
-- A new key. Error 1062 tells that its name is taken, be it by one that is revoked.
INSERT INTO api_keys (name, key_hash) VALUES (%(name)s, UNHEX(%(key_hash)s))

-- name: revoke_api_key
-- Its row stays, so that nobody else gets its name.
UPDATE api_keys SET revoked_at = UTC_TIMESTAMP(6) WHERE name = %(name)s AND revoked_at IS NULL

-- name: api_keys
-- All of them, the revoked ones too: there are few.
SELECT name, LOWER(HEX(key_hash)) AS key_hash, created_at, last_used_on, revoked_at
  FROM api_keys
 ORDER BY name

-- name: record_use
-- The day on which a key was used for the last time.
UPDATE api_keys SET last_used_on = %(day)s WHERE name = %(name)s AND COALESCE(last_used_on, '1970-01-01') < %(day)s
