"""Every SQL statement of this driver, by what it does; schema.sql says what the tables mean.

None of them is atomic alone: each runs inside a transaction of store.py, and who calls it says which belong
together.
A list of ids or numbers comes as one JSON array, so that a statement is prepared once for all lengths.
Above each group: what goes in -> what comes out.
"""

# --- sending ----------------------------------------------------------------------------------------------

# -> the largest id alive, or NULL
LAST_MESSAGE = "SELECT max(id) FROM message"

# id, queue, step, payload ->
ADD_MESSAGE = "INSERT INTO message (id, queue, step, payload) VALUES (?, ?, ?, ?)"

# queue, step, position, message ->
ADD_READY = "INSERT INTO ready (queue, step, position, message) VALUES (?, ?, ?, ?)"

# eta, message, queue ->
ADD_DELAYED = "INSERT INTO delayed (eta, message, queue) VALUES (?, ?, ?)"

# --- what is due ------------------------------------------------------------------------------------------

# now, limit -> eta, message, queue, step; first due first
DUE = """
SELECT d.eta, d.message, d.queue, m.step
FROM delayed d CROSS JOIN message m ON m.id = d.message
WHERE d.eta <= ? ORDER BY d.eta, d.message LIMIT ?
"""

# eta, message of the last that DUE gave ->
DELETE_DUE = "DELETE FROM delayed WHERE (eta, message) <= (?, ?)"

# new id, old id ->
RENUMBER = "UPDATE message SET id = ? WHERE id = ?"

# -> the first eta
NEXT_ETA = "SELECT eta FROM delayed ORDER BY eta LIMIT 1"

# --- claiming ---------------------------------------------------------------------------------------------

# owner's name -> id, reserved
OWNER = "SELECT id, reserved FROM owner WHERE name = ?"

# queue, limit -> step, position, message, payload, deliveries, begun, deaths; in the order of claiming
FIRST_READY = """
SELECT r.step, r.position, r.message, m.payload, m.deliveries, m.begun, m.deaths
FROM ready r CROSS JOIN message m ON m.id = r.message
WHERE r.queue = ? ORDER BY r.step, r.position LIMIT ?
"""

# queue; step, position of the last that FIRST_READY gave ->
DELETE_FIRST_READY = "DELETE FROM ready WHERE queue = ? AND (step, position) <= (?, ?)"

# owner, number, message ->
ADD_CLAIM = "INSERT INTO claim (owner, number, message) VALUES (?, ?, ?)"

# reserved, owner ->
RESERVE_NUMBERS = "UPDATE owner SET reserved = ? WHERE id = ?"

# owner, number -> number, queue, payload, deliveries, begun, deaths of all claims above that number
CLAIMS_ABOVE = """
SELECT c.number, m.queue, m.payload, m.deliveries, m.begun, m.deaths
FROM claim c CROSS JOIN message m ON m.id = c.message
WHERE c.owner = ? AND c.number > ? ORDER BY c.number
"""

# --- settling ---------------------------------------------------------------------------------------------

# owner, numbers (JSON) -> number, message of those that are held
HELD = "SELECT number, message FROM claim WHERE owner = ? AND number IN (SELECT value FROM json_each(?))"

# owner -> number, message
ALL_HELD = """
SELECT c.number, c.message, m.begun FROM claim c CROSS JOIN message m ON m.id = c.message WHERE c.owner = ?
"""

# owner, numbers (JSON) ->
DELETE_CLAIMS = "DELETE FROM claim WHERE owner = ? AND number IN (SELECT value FROM json_each(?))"

# owner ->
DELETE_ALL_CLAIMS = "DELETE FROM claim WHERE owner = ?"

# ids (JSON) ->
DELETE_MESSAGES = "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?))"

# message -> one changed row, or none if it had begun before
BEGIN_ONCE = "UPDATE message SET begun = 1 WHERE id = ? AND begun = 0"

# message -> ; it was marked, but did not begin after all
UNBEGIN = "UPDATE message SET begun = 0 WHERE id = ? AND begun = 1"

# message -> how its owners died (JSON), NULL where none has
DEATHS = "SELECT deaths FROM message WHERE id = ?"

# deaths (JSON), message ->
COUNT_DELIVERY = "UPDATE message SET deliveries = deliveries + 1, deaths = ? WHERE id = ?"

# message -> queue; the message is at the head of its queue
PUT_FIRST = """
INSERT INTO ready (queue, step, position, message)
SELECT m.queue, m.step,
       coalesce((SELECT min(r.position) FROM ready r WHERE r.queue = m.queue AND r.step = m.step), m.id) - 1,
       m.id
FROM message m WHERE m.id = ? RETURNING queue
"""

# eta, message ->
DEFER = "INSERT INTO delayed (eta, message, queue) SELECT ?, id, queue FROM message WHERE id = ?"

# message, name, reason, died_at ->
ADD_DEAD = "INSERT INTO dead (message, name, reason, died_at) VALUES (?, ?, ?, ?)"

# --- owners and leases ------------------------------------------------------------------------------------

# name, node ->
ENLIST = "INSERT OR IGNORE INTO owner (name, node) VALUES (?, ?)"

# name, monotonic now, lease -> ; a lease that runs stays as it is
START_LEASE = """
INSERT INTO node (name, renewed, lease) VALUES (?1, ?2, ?3)
ON CONFLICT (name) DO UPDATE SET renewed = ?2, lease = ?3
WHERE NOT (renewed <= ?2 AND ?2 < renewed + lease)
"""

# name, monotonic now, lease ->
RENEW_LEASE = """
INSERT INTO node (name, renewed, lease) VALUES (?1, ?2, ?3)
ON CONFLICT (name) DO UPDATE SET renewed = ?2, lease = ?3
"""

# name, monotonic now -> a row if it has a lease and is late: of another node's, whose last beat may be a
# third of a lease older, nothing may be left then
LATE = "SELECT 1 FROM node WHERE name = ?1 AND NOT (renewed <= ?2 AND ?2 < renewed + lease * 2 / 3)"

# monotonic now, lease -> ; every lease that ran out begins anew
RENEW_ENDED_LEASES = """
UPDATE node SET renewed = ?1, lease = ?2 WHERE NOT (renewed <= ?1 AND ?1 < renewed + lease)
"""

# name, monotonic now, name of another node -> ; a node without a lease gets one as long as the other's
INHERIT_LEASE = """
INSERT OR IGNORE INTO node (name, renewed, lease)
SELECT ?1, ?2, coalesce((SELECT lease FROM node WHERE name = ?3), 30.0)
"""

# monotonic now -> names of the owners whose node has no lease that runs
ORPHANS = """
SELECT o.name FROM owner o LEFT JOIN node n ON n.name = o.node
WHERE n.name IS NULL OR NOT (n.renewed <= ?1 AND ?1 < n.renewed + n.lease) ORDER BY o.id
"""

# node -> name
OWNERS_OF_NODE = "SELECT name FROM owner WHERE node = ?"

# monotonic now -> ; nodes that left nothing behind
DELETE_ENDED_NODES = """
DELETE FROM node
WHERE NOT (renewed <= ?1 AND ?1 < renewed + lease) AND name NOT IN (SELECT node FROM owner)
"""

# owner's name -> id, node, reserved
OWNER_AND_NODE = "SELECT id, node, reserved FROM owner WHERE name = ?"

# one owner, another -> a row if both hold a claim of one number
SAME_NUMBER = (
    "SELECT 1 FROM claim a JOIN claim b ON b.number = a.number WHERE a.owner = ? AND b.owner = ? LIMIT 1"
)

# new owner, old owner ->
MOVE_CLAIMS = "UPDATE claim SET owner = ? WHERE owner = ?"

# owner ->
DELETE_OWNER = "DELETE FROM owner WHERE id = ?"

# --- who waits --------------------------------------------------------------------------------------------

# -> a row if anybody waits
ANYBODY_WAITS = "SELECT 1 FROM waiter LIMIT 1"

# address, until, alarm -> a row if it waits so already
WAITS_SO = "SELECT 1 FROM waiter WHERE address = ? AND until = ? AND alarm IS ? LIMIT 1"

# queue, address, until, alarm ->
ADD_WAITER = "INSERT OR REPLACE INTO waiter (queue, address, until, alarm) VALUES (?, ?, ?, ?)"

# address ->
DELETE_WAITER = "DELETE FROM waiter WHERE address = ?"

# queue, monotonic now, limit -> addresses
WAITERS_FOR = "SELECT address FROM waiter WHERE queue = ? AND until > ? ORDER BY until LIMIT ?"

# queue, limit -> how many are ready, up to the limit
COUNT_READY_TO = "SELECT count(*) FROM (SELECT 1 FROM ready WHERE queue = ? LIMIT ?)"

# earliest and latest alarm, address -> a row if somebody else will look by then
ALARM_IS_SET = "SELECT 1 FROM waiter WHERE alarm BETWEEN ? AND ? AND address <> ? LIMIT 1"

# monotonic time -> address of the one who sits longest of those who will wait until then, and its queue
WAITS_BEYOND = "SELECT address, queue FROM waiter WHERE until > ? ORDER BY until LIMIT 1"

# -> queues that somebody waits for
QUEUES_WAITED_FOR = "SELECT DISTINCT queue FROM waiter"

# ->
FORGET_ALARMS = "UPDATE waiter SET alarm = NULL WHERE alarm IS NOT NULL"

# monotonic time ->
DELETE_OLD_WAITERS = "DELETE FROM waiter WHERE until < ?"

# --- revoked tasks ----------------------------------------------------------------------------------------

# -> a row if anything is revoked
ANYTHING_REVOKED = "SELECT 1 FROM revoked LIMIT 1"

# tasks (JSON), now -> those that are revoked
REVOKED_OF = "SELECT task FROM revoked WHERE task IN (SELECT value FROM json_each(?)) AND expires > ?"

# expires, tasks (JSON) -> ; the longer time of two counts
REVOKE = """
INSERT INTO revoked (task, expires) SELECT value, ?1 FROM json_each(?2) WHERE true
ON CONFLICT (task) DO UPDATE SET expires = max(expires, excluded.expires)
"""

# now, limit -> tasks, those first that are revoked for longest; stamps, which begin so, are left out
REVOKED_TASKS = """
SELECT task FROM revoked WHERE expires > ? AND task NOT LIKE char(10) || '%' ORDER BY expires DESC LIMIT ?
"""

# queue, limit -> eta, payload
DELAYED_OF = """
SELECT d.eta, m.payload FROM delayed d CROSS JOIN message m ON m.id = d.message
WHERE d.queue = ? ORDER BY d.eta, d.message LIMIT ?
"""

# -> the last eta, or NULL
LAST_ETA = "SELECT max(eta) FROM delayed"

# -> payloads of all that is claimed
CLAIMED = "SELECT m.payload FROM claim c CROSS JOIN message m ON m.id = c.message"

# message, limit -> the next messages that are not dead, by id
ALIVE_AFTER = """
SELECT m.id, m.payload FROM message m
WHERE m.id > ? AND m.id NOT IN (SELECT message FROM dead) ORDER BY m.id LIMIT ?
"""

# now, limit ->
DELETE_OVER_REVOKED = """
DELETE FROM revoked WHERE task IN (SELECT task FROM revoked WHERE expires <= ? ORDER BY expires LIMIT ?)
"""

# --- looking ----------------------------------------------------------------------------------------------

# queue -> how many
COUNT_READY = "SELECT count(*) FROM ready WHERE queue = ?"
COUNT_DELAYED = "SELECT count(*) FROM delayed WHERE queue = ?"
COUNT_CLAIMED = "SELECT count(*) FROM claim c CROSS JOIN message m ON m.id = c.message WHERE m.queue = ?"
COUNT_DEAD = "SELECT count(*) FROM dead d CROSS JOIN message m ON m.id = d.message WHERE m.queue = ?"

# -> names, sorted; the steps of `named` jump from name to name, however many messages lie between
QUEUES = """
WITH RECURSIVE named (queue) AS (
    SELECT min(queue) FROM ready
    UNION ALL
    SELECT (SELECT min(r.queue) FROM ready r WHERE r.queue > named.queue)
    FROM named WHERE named.queue IS NOT NULL
)
SELECT queue FROM named WHERE queue IS NOT NULL
UNION SELECT queue FROM delayed
UNION SELECT m.queue FROM claim c CROSS JOIN message m ON m.id = c.message
UNION SELECT m.queue FROM dead d CROSS JOIN message m ON m.id = d.message
ORDER BY 1
"""

# queue, limit -> payloads in the order of claiming
PEEK = """
SELECT m.payload FROM ready r CROSS JOIN message m ON m.id = r.message
WHERE r.queue = ? ORDER BY r.step, r.position LIMIT ?
"""

# queue -> (step, payload) of the first of each step
FIRSTS = """
SELECT r.step, m.payload FROM ready r CROSS JOIN message m ON m.id = r.message
WHERE r.queue = ?1 AND r.position = (SELECT min(position) FROM ready WHERE queue = ?1 AND step = r.step)
"""

# queue, now, limit -> payloads that are due and not promoted yet
PEEK_DUE = """
SELECT m.payload FROM delayed d CROSS JOIN message m ON m.id = d.message
WHERE d.queue = ? AND d.eta <= ? ORDER BY m.step, d.eta, d.message LIMIT ?
"""

# queue ->
PURGE_READY_MESSAGES = "DELETE FROM message WHERE id IN (SELECT message FROM ready WHERE queue = ?)"
PURGE_READY = "DELETE FROM ready WHERE queue = ?"
PURGE_DELAYED_MESSAGES = "DELETE FROM message WHERE id IN (SELECT message FROM delayed WHERE queue = ?)"
PURGE_DELAYED = "DELETE FROM delayed WHERE queue = ?"

# queue, limit -> message, payload
FIRST_DELAYED = """
SELECT d.message, m.payload FROM delayed d CROSS JOIN message m ON m.id = d.message
WHERE d.queue = ? ORDER BY d.eta, d.message LIMIT ?
"""

# messages (JSON) ->
DELETE_DELAYED = "DELETE FROM delayed WHERE message IN (SELECT value FROM json_each(?))"

# limit -> id, queue, payload, reason, died_at, deliveries; the newest first
LETTERS = """
SELECT d.name, m.queue, m.payload, d.reason, d.died_at, m.deliveries
FROM dead d CROSS JOIN message m ON m.id = d.message ORDER BY d.place DESC LIMIT ?
"""

# names (JSON) -> place, message, queue, step; the oldest first
DEAD_OF = """
SELECT d.place, d.message, m.queue, m.step FROM dead d JOIN message m ON m.id = d.message
WHERE d.name IN (SELECT value FROM json_each(?)) ORDER BY d.place
"""

# place ->
DELETE_DEAD = "DELETE FROM dead WHERE place = ?"

# new id, old id -> ; as new
RENEW = "UPDATE message SET id = ?, deliveries = 0, deaths = NULL, begun = 0 WHERE id = ?"

# --- results ----------------------------------------------------------------------------------------------

# task, payload, expires ->
SAVE_RESULT = """
INSERT INTO result (task, payload, expires) VALUES (?, ?, ?)
ON CONFLICT (task) DO UPDATE SET payload = excluded.payload, expires = excluded.expires
"""

# tasks (JSON), now -> task, payload
LOAD_RESULTS = """
SELECT task, payload FROM result
WHERE task IN (SELECT value FROM json_each(?)) AND (expires IS NULL OR expires > ?)
"""

# tasks (JSON) ->
FORGET_RESULTS = "DELETE FROM result WHERE task IN (SELECT value FROM json_each(?))"

# now, limit -> changed rows say how many were too old
DELETE_EXPIRED = """
DELETE FROM result WHERE task IN (SELECT task FROM result WHERE expires <= ? ORDER BY expires LIMIT ?)
"""

# task, number, body, expires ->
ADD_PART = "INSERT INTO part (task, number, body, expires) VALUES (?, ?, ?, ?)"

# expires, task -> ; the older ones too live as long as the newest
KEEP_PARTS = "UPDATE part SET expires = ? WHERE task = ?"

# task, number ->
DELETE_PARTS_TO = "DELETE FROM part WHERE task = ? AND number <= ?"

# task, number, now, limit -> number, body; in order
PARTS_AFTER = """
SELECT number, body FROM part
WHERE task = ? AND number > ? AND (expires IS NULL OR expires > ?) ORDER BY number LIMIT ?
"""

# tasks (JSON) ->
FORGET_PARTS = "DELETE FROM part WHERE task IN (SELECT value FROM json_each(?))"

# now, limit ->
DELETE_OLD_PARTS = """
DELETE FROM part WHERE (task, number) IN (
    SELECT task, number FROM part WHERE expires <= ? ORDER BY expires LIMIT ?
)
"""

# -> a row if anybody watches
ANYBODY_WATCHES = "SELECT 1 FROM watcher LIMIT 1"

# tasks (JSON) -> addresses of those who watch them
MARK_FRESH = "UPDATE watcher SET fresh = 1 WHERE task IN (SELECT value FROM json_each(?)) RETURNING address"

# task, address -> ; not told, not known
WATCH = "INSERT OR IGNORE INTO watcher (task, address) VALUES (?, ?)"

# task, address -> ; as if something had been saved meanwhile
WATCH_AGAIN = "INSERT OR IGNORE INTO watcher (task, address, fresh) VALUES (?, ?, 1)"

# address, tasks (JSON) ->
UNWATCH = "DELETE FROM watcher WHERE address = ? AND task IN (SELECT value FROM json_each(?))"

# address ->
DELETE_WATCHER = "DELETE FROM watcher WHERE address = ?"

# address -> how many tasks it watches
COUNT_WATCHED = "SELECT count(*) FROM watcher WHERE address = ?"

# address, now -> task, payload
FRESH_RESULTS = """
SELECT w.task, r.payload FROM watcher w CROSS JOIN result r ON r.task = w.task
WHERE w.address = ? AND w.fresh = 1 AND (r.expires IS NULL OR r.expires > ?)
"""

# address ->
MARK_TOLD = "UPDATE watcher SET fresh = 0 WHERE address = ? AND fresh = 1"

# --- chords -----------------------------------------------------------------------------------------------

# chord, now -> a row if it is
CHORD_IS_THROUGH = """
SELECT 1 FROM chord WHERE id = ? AND counted < 0 AND expires > ?
AND NOT EXISTS (SELECT 1 FROM header WHERE header.chord = chord.id)
"""

# chord, members, expires ->
ADD_RUN = "INSERT INTO run (chord, members, expires) VALUES (?, ?, ?)"

# chord, how many more, expires -> how many were counted
COUNT_MEMBERS = """
INSERT INTO chord (id, counted, expires) VALUES (?1, ?2, ?3)
ON CONFLICT (id) DO UPDATE SET counted = max(counted, 0) + ?2, expires = excluded.expires
RETURNING counted
"""

# chord -> members, in the order of counting
RUNS = "SELECT members FROM run WHERE chord = ? ORDER BY id"

# chord ->
DELETE_RUNS = "DELETE FROM run WHERE chord = ?"

# how many, chord ->
RECOUNT = "UPDATE chord SET counted = ? WHERE id = ?"

# expires, chord ->
CLOSE_CHORD = "UPDATE chord SET counted = -1, expires = ? WHERE id = ?"

# now ->
DELETE_OLD_CHORDS = "DELETE FROM chord WHERE expires <= ?"

# now -> ; not of a chord whose time was prolonged by a later member
DELETE_OLD_RUNS = "DELETE FROM run WHERE expires <= ? AND chord NOT IN (SELECT id FROM chord)"

# chord, size, broken, expires ->
ADD_HEADER = "INSERT OR IGNORE INTO header (chord, size, broken, expires) VALUES (?, ?, ?, ?)"

# size, chord ->
ADD_TO_HEADER = "UPDATE header SET size = size + ? WHERE chord = ?"

# patience, chord ->
WAIT_FOR_HEADER = "UPDATE header SET patience = ? WHERE chord = ?"

# chord -> size, broken
HEADER = "SELECT size, broken FROM header WHERE chord = ?"

# now -> chord, broken, expires of those of which no more will come
LOST_HEADERS = "SELECT chord, broken, expires FROM header WHERE patience <= ?"

# chord ->
DELETE_HEADER = "DELETE FROM header WHERE chord = ?"

# now -> ; as above
DELETE_OLD_HEADERS = "DELETE FROM header WHERE expires <= ? AND chord NOT IN (SELECT id FROM chord)"

# chord, expires ->
BREAK_CHORD = """
INSERT INTO chord (id, counted, expires) VALUES (?, -1, ?)
ON CONFLICT (id) DO UPDATE SET counted = -1, expires = excluded.expires
"""

# --- the bus ----------------------------------------------------------------------------------------------

# address, topics (JSON), until -> ; its id is the last that was inserted
ADD_LISTENER = "INSERT INTO listener (address, topics, until) VALUES (?, ?, ?)"

# monotonic now -> id, address, topics of all who may listen
LISTENERS = "SELECT id, address, topics FROM listener WHERE until > ?"

# listener, topic, payload ->
ADD_HEARD = "INSERT INTO heard (listener, topic, payload) VALUES (?, ?, ?)"

# listener, limit -> id, topic, payload in their order
HEARD = "SELECT id, topic, payload FROM heard WHERE listener = ? ORDER BY id LIMIT ?"

# listener, last id ->
DELETE_HEARD = "DELETE FROM heard WHERE listener = ? AND id <= ?"

# until, listener -> one changed row if it is known
RENEW_LISTENER = "UPDATE listener SET until = ? WHERE id = ?"

# listeners (JSON) ->
DELETE_LISTENERS = "DELETE FROM listener WHERE id IN (SELECT value FROM json_each(?))"

# listeners (JSON) ->
DELETE_ALL_HEARD = "DELETE FROM heard WHERE listener IN (SELECT value FROM json_each(?))"

# monotonic now -> ids of those that were killed
OLD_LISTENERS = "SELECT id FROM listener WHERE until <= ?"

# --- paused queues ----------------------------------------------------------------------------------------

# queue ->
PAUSE = "INSERT OR IGNORE INTO paused (queue) VALUES (?)"
RESUME = "DELETE FROM paused WHERE queue = ?"

# -> names, sorted
PAUSED = "SELECT queue FROM paused ORDER BY queue"
