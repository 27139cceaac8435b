-- name: record_dead_letter
-- A job that comes again with the same content is the same letter, with the news of its latest end.
INSERT INTO dead_letters (job_id, fingerprint, job, request, error, tries, enqueued_at, buried_at)
SELECT job_id, fingerprint, job, request, error, tries, enqueued_at, buried_at
  FROM (SELECT %(job_id)s AS job_id, UNHEX(%(fingerprint)s) AS fingerprint, %(job)s AS job, %(request)s AS request,
               %(error)s AS error, %(tries)s AS tries, %(enqueued_at)s AS enqueued_at, %(buried_at)s AS buried_at
       ) AS buried
    ON DUPLICATE KEY UPDATE error = buried.error, tries = buried.tries, buried_at = buried.buried_at

-- name: count_dead_letters
-- How many there are.
SELECT COUNT(*) AS letters FROM dead_letters

-- name: oldest_dead_letters
-- Those that were buried first, without their requests, which may be large.
SELECT CONVERT(job_id USING utf8mb4) AS job_id, job, error, tries, enqueued_at, buried_at
  FROM dead_letters
 ORDER BY buried_at
 LIMIT %(size)s

-- name: dead_letters_of
-- The letters of one job id: more than one where it came with other content, too.
SELECT CONVERT(job_id USING utf8mb4) AS job_id, job, request, error, tries, enqueued_at, buried_at
  FROM dead_letters
 WHERE job_id = %(job_id)s
 ORDER BY fingerprint

-- name: page_of_dead_letters
-- The next job ids that have letters.
SELECT CONVERT(job_id USING utf8mb4) AS job_id
  FROM (
    SELECT DISTINCT job_id FROM dead_letters WHERE job_id > %(after)s ORDER BY job_id LIMIT %(size)s
  ) AS page

-- name: delete_dead_letter
-- One letter that was read before.
DELETE FROM dead_letters WHERE job_id = %(job_id)s AND fingerprint = UNHEX(%(fingerprint)s)
