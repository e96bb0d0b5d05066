-- Stands between the prelude and turn.lua: how the members of a chord are counted.
--
-- The keys are Celery's, so that a stock worker can count some of the members, or the last one. Below the key of the group:
-- .j  sorted set of items by index, an item is '[1, "<task id>", "<state>", <value>]'
-- .d  set of "<task id>:<index>" that were counted    .s  how many members there are    .t  how many were added to them
-- .c  is there when the chord is through, for a while: who comes late begins no new count
-- A chord is {its place among those of this turn, key of the group, size or 0 (then it is in .s), ttl in ms or 0, body, broken};
-- body and broken are messages whose payloads have holes (see message.py). A member is {place of its chord, id, root, index, item},
-- item is an index in ARGV. All members that a turn counts in one chord are counted with a handful of commands.

local THROUGH = 300 -- seconds; Celery's

-- As it stands within a JSON string.
local function escaped(text) return string.sub(cjson.encode(text), 2, -2) end

local function fill(payload, holes)
  for hole, text in pairs(holes) do
    local parts, from = {}, 1
    local at = string.find(payload, hole, 1, true)
    while at do
      parts[#parts + 1] = string.sub(payload, from, at - 1)
      parts[#parts + 1] = text
      from = at + 1
      at = string.find(payload, hole, from, true)
    end
    parts[#parts + 1] = string.sub(payload, from)
    payload = table.concat(parts)
  end
  return payload
end

-- A stock producer saves which members are a group of their own, as {"result": [[id, parent], [nodes]]}: their values come as a list.
local function in_their_groups(saved, value_of)
  local function text(node)
    if type(node[2]) ~= 'table' then return value_of[node[1][1]] or 'null' end
    local parts = {}
    for i, child in ipairs(node[2]) do parts[i] = text(child) end
    return '[' .. table.concat(parts, ', ') .. ']'
  end
  local is_one, nested = pcall(function() return text(cjson.decode(saved).result) end)
  return is_one and nested
end

-- A stock worker with result_chord_ordered off keeps a list.
local function is_list(key) return redis.call('TYPE', key).ok == 'list' end

local function keep(key, members)
  local scored, items = {}, {}
  for i, member in ipairs(members) do
    items[i] = ARGV[member[5]]
    scored[2 * i - 1], scored[2 * i] = member[4], items[i]
  end
  if is_list(key) then redis.call('RPUSH', key, unpack(items)) else redis.call('ZADD', key, unpack(scored)) end
end

local function kept(key)
  return is_list(key) and redis.call('LRANGE', key, 0, -1) or redis.call('ZRANGE', key, 0, -1)
end

local function how_many(key) return is_list(key) and redis.call('LLEN', key) or redis.call('ZCARD', key) end

local function is_through(key, size)
  if size == 0 then size = tonumber(redis.call('GET', key .. '.s') or 0) end
  if size == 0 then return false end -- a stock producer is still sending; it tells the size before its last message
  return how_many(key .. '.j') >= size + tonumber(redis.call('GET', key .. '.t') or 0)
end

-- Those that were not counted before, each once.
local function uncounted(key, members)
  local names = {}
  for i, member in ipairs(members) do names[i] = member[2] .. ':' .. member[4] end
  local known = redis.call('SMISMEMBER', key .. '.d', unpack(names))
  local fresh, new = {}, {}
  for i, member in ipairs(members) do
    if known[i] == 0 and not fresh[names[i]] then
      fresh[names[i]] = true
      new[#new + 1] = member
    end
  end
  return new
end

-- Count members; returns the messages that the last of them sets off, and what to put in their holes.
local function count(chord, members)
  local key, ttl = chord[2], chord[4]
  if #members == 0 or redis.call('EXISTS', key .. '.c') == 1 then return {}, {} end
  members = uncounted(key, members)
  if #members == 0 then return {}, {} end
  local names = {}
  for i, member in ipairs(members) do names[i] = member[2] .. ':' .. member[4] end
  redis.call('SADD', key .. '.d', unpack(names))
  keep(key .. '.j', members)
  if ttl > 0 then
    redis.call('PEXPIRE', key .. '.d', ttl)
    redis.call('PEXPIRE', key .. '.j', ttl)
  end
  if not is_through(key, chord[3]) then return {}, {} end

  local last = members[#members]
  local values, value_of = {}, {}
  local broken, failed
  for _, item in ipairs(kept(key .. '.j')) do
    local id, status, value = string.match(item, '^%[1, "([^"]*)", "(%u+)", (.*)%]$')
    if status == 'SUCCESS' then
      values[#values + 1] = value
      value_of[id] = value
    elseif not broken then
      broken, failed = item, id or ''
    end
  end
  redis.call('SET', key .. '.c', 'done', 'EX', THROUGH)
  redis.call('DEL', key .. '.j', key .. '.d', key .. '.s', key .. '.t')
  local holes = {['\2'] = escaped(last[2]), ['\3'] = escaped(last[3])}
  if broken then
    holes['\0'], holes['\1'] = escaped(broken), escaped(failed)
    return chord[6], holes
  end
  local saved = redis.call('GET', key)
  holes['\0'] = escaped(saved and in_their_groups(saved, value_of) or '[' .. table.concat(values, ', ') .. ']')
  return chord[5], holes
end

