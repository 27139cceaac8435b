-- migrate:up

-- Which trace an event belongs to, where its order was traced: the relay hands it on to those who read the stream.
ALTER TABLE outbox ADD COLUMN traceparent CHAR(55) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'W3C Trace Context';

-- migrate:down

ALTER TABLE outbox DROP COLUMN traceparent;
