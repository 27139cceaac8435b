-- Orders that were staged in somebody else's transaction. A worker enqueues them, and the transaction that places an
-- order deletes its row. Deletes and updates go by primary keys that are known to be there: to look for a missing
-- one would lock the gap where other services insert.

-- name: stage_orders
-- What `jobs.intake.stage` gives to a service; one INSERT of values does the same.
INSERT INTO intake (order_id, request)
SELECT UNHEX(order_id), request
  FROM JSON_TABLE(%(orders)s, '$[*]' COLUMNS (
         order_id CHAR(32) PATH '$[0]',
         request  TEXT     CHARACTER SET utf8mb4 PATH '$[1]'
       )) AS ordered

-- name: stage_orders_at_once
-- The same for who enqueues them as well, right after the commit.
INSERT INTO intake (order_id, request, enqueued_at)
SELECT UNHEX(order_id), request, UTC_TIMESTAMP(6)
  FROM JSON_TABLE(%(orders)s, '$[*]' COLUMNS (
         order_id CHAR(32) PATH '$[0]',
         request  TEXT     CHARACTER SET utf8mb4 PATH '$[1]'
       )) AS ordered

-- name: work_for_a_sweep
-- For how long the oldest order waits to be enqueued, if one does, and whether some were so long ago and are still there.
-- (A snapshot read: it is asked often.)
SELECT (SELECT TIMESTAMPDIFF(MICROSECOND, staged_at, UTC_TIMESTAMP(6)) FROM intake FORCE INDEX (intake_by_enqueued)
         WHERE enqueued_at IS NULL ORDER BY staged_at LIMIT 1) AS lag_microseconds,
       EXISTS (SELECT 1 FROM intake FORCE INDEX (intake_by_enqueued)
                WHERE enqueued_at < UTC_TIMESTAMP(6) - INTERVAL %(overdue_seconds)s SECOND
                   OR enqueued_at > UTC_TIMESTAMP(6) + INTERVAL %(overdue_seconds)s SECOND) AS overdue

-- name: staged_orders
-- Which of these orders are staged (a snapshot read, outside of any transaction).
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT JSON_ARRAYAGG(LOWER(HEX(intake.order_id))) AS order_ids
  FROM wanted STRAIGHT_JOIN intake FORCE INDEX (PRIMARY) ON intake.order_id = UNHEX(wanted.order_id)

-- name: mark_enqueued
-- Rows that this transaction has locked: nobody else enqueues them for a while.
UPDATE JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
       STRAIGHT_JOIN intake FORCE INDEX (PRIMARY) ON intake.order_id = UNHEX(ids.order_id)
   SET intake.enqueued_at = UTC_TIMESTAMP(6)

-- name: delete_staged
-- Rows that this transaction has locked.
DELETE intake
  FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
       STRAIGHT_JOIN intake FORCE INDEX (PRIMARY) ON intake.order_id = UNHEX(ids.order_id)
