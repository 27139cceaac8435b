-- migrate:up

-- Jobs that nobody can run: they failed for a bug, or cannot be read. `lockstep dead` shows, replays and drops them.
-- The same job with the same content is one letter. A job id is whatever its maker took: bytes, compared as such.
CREATE TABLE dead_letters (
  job_id      VARBINARY(2048) NOT NULL,
  fingerprint BINARY(16)      NOT NULL COMMENT 'of job and request: tells a repeat from other content',
  job         VARCHAR(80)     NOT NULL,
  request     JSON            NOT NULL COMMENT 'of a message that cannot be read: its bytes in base64',
  error       TEXT            NOT NULL,
  tries       INT UNSIGNED    NOT NULL,
  enqueued_at DATETIME(6)     NULL,
  buried_at   DATETIME(6)     NOT NULL,
  PRIMARY KEY (job_id, fingerprint),
  KEY dead_letters_by_time (buried_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- migrate:down

DROP TABLE dead_letters;
