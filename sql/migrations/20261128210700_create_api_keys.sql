-- migrate:up

-- Who may use the door for orders over HTTP. `lockstep keys` writes here, and each web process reads it.
CREATE TABLE api_keys (
  name         VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  key_hash     BINARY(32)  NOT NULL COMMENT 'SHA-256; nobody guesses 256 random bits, so a slow hash would add nothing',
  created_at   DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  last_used_on DATE        NULL     COMMENT 'UTC; no more often than once a day is it written',
  revoked_at   DATETIME(6) NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- migrate:down

DROP TABLE api_keys;
