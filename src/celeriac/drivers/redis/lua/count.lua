-- Stands between the prelude and turn.lua: how the members of a chord are counted.
--
-- The keys are Celery's, so that a stock worker can count some of the members, or the last one. Below the key of the group:
-- .j  sorted set of items by index, an item is '[1, "<task id>", "<state>", <value>]'
-- .d  set of "<task id>:<index>" that were counted    .s  how many members there are    .t  how many were added to them
-- .b  the messages that come if it fails, as its producer told them (JSON): for who counts and cannot say them
-- .o  is there while the producer of a header that is not whole may be sending the rest
-- .c  is there when the chord is through, for a while: who comes late begins no new count
-- A chord is {its place among those of this turn, key of the group, size or 0 (then it is in .s), ttl in ms or 0, body, broken ...};
-- body and broken are messages whose payloads have holes (see message.py). Its members are told as a run of one list: first the
-- names of all, "<task id>:<index>", then index and item of each. So a turn counts all members of one chord with a handful of
-- commands, and where they come by themselves with their results, the list is ARGV and no table is made.

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

-- Where the quote stands that ends the id of an item; one with a backslash before it does not.
local function end_of_id(item)
  local at = string.find(item, '["\\]', 6)
  while at and string.sub(item, at, at) ~= '"' do at = string.find(item, '["\\]', at + 2) end
  return at
end

-- The id of the task whose item it is, as it is written there.
local function written_id_of(item)
  local quote = end_of_id(item)
  return quote and string.sub(item, 6, quote - 1) or ''
end

local function id_of(item)
  local text = written_id_of(item)
  if not string.find(text, '\\', 1, true) then return text end
  local is_text, ids = pcall(cjson.decode, '["' .. text .. '"]')
  return is_text and ids[1] or ''
end

-- A stock producer saves which members are a group of their own, as {"result": [[id, parent], [nodes]]}: their values come as a list.
local function in_their_groups(saved, items, values)
  local value_of = {}
  for i, item in ipairs(items) do value_of[id_of(item)] = values[i] end
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

-- The items with their indexes, in turn, from `from` to `upto`.
local function keep(key, told, from, upto)
  if is_list(key) then
    for i = from + 1, upto, 2 do redis.call('RPUSH', key, told[i]) end
  else
    redis.call('ZADD', key, unpack(told, from, upto))
  end
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

-- Whether a member has left its item.
local function is_kept(key, name, index)
  local id = string.sub(name, 1, -#index - 2)
  for _, item in ipairs(is_list(key) and kept(key) or redis.call('ZRANGEBYSCORE', key, index, index)) do
    if id_of(item) == id then return true end
  end
  return false
end

-- Count these members, each once whatever was counted before; returns how many are new.
local function add(key, told, from, size)
  local added = redis.call('SADD', key .. '.d', unpack(told, from, from + size - 1))
  if added == size then
    keep(key .. '.j', told, from + size, from + 3 * size - 1)
  elseif added > 0 then
    -- Some were delivered twice, which is rare: only then it is worth finding out which.
    for i = 0, size - 1 do
      local at = from + size + 2 * i
      if not is_kept(key .. '.j', told[from + i], told[at]) then keep(key .. '.j', told, at, at + 1) end
    end
  end
  return added
end

-- The value of an item as JSON, nil if its task failed.
local function value_of(item)
  local quote = end_of_id(item)
  if quote and string.find(item, '", "SUCCESS", ', quote, true) == quote then return string.sub(item, quote + 14, -2) end
end

-- The messages of .b, as those of a chord.
local function told_of_broken(key)
  local told = redis.call('GET', key .. '.b')
  local messages = told and cjson.decode(told) or {}
  for _, message in ipairs(messages) do
    ARGV[#ARGV + 1] = message[4]
    message[4] = #ARGV
  end
  return messages
end

-- Count the members that `told` tells of from `from` on; returns the messages that the last of all sets off, and what to put in
-- their holes. `last` is the id of the last of these, `root` that of its root.
local function count(chord, told, from, size, last, root)
  local key, ttl = chord[2], chord[4]
  if size == 0 or redis.call('EXISTS', key .. '.c') == 1 then return {}, {} end
  -- Nobody could read these: perhaps they stand in no chord.
  if chord[3] == 0 and #chord[6] == 0 and redis.call('EXISTS', key .. '.s') == 0 then return {}, {} end
  if add(key, told, from, size) == 0 then return {}, {} end
  if ttl > 0 then
    redis.call('PEXPIRE', key .. '.d', ttl)
    redis.call('PEXPIRE', key .. '.j', ttl)
  end
  if not is_through(key, chord[3]) then return {}, {} end

  local values, broken = {}, nil
  local items = kept(key .. '.j')
  for i, item in ipairs(items) do
    values[i] = value_of(item)
    if not values[i] then
      broken = item
      break
    end
  end
  local saved = not broken and redis.call('GET', key)
  local nested = saved and in_their_groups(saved, items, values)
  local fails = broken and (#chord[6] > 0 and chord[6] or told_of_broken(key))
  if broken and #fails == 0 then return {}, {} end -- a stock producer tells nothing: it ends with its keys
  redis.call('SET', key .. '.c', 'done', 'EX', THROUGH)
  redis.call('UNLINK', key .. '.j', key .. '.d', key .. '.s', key .. '.t', key .. '.b')
  local holes = {['\2'] = escaped(last), ['\3'] = escaped(root)}
  if broken then
    holes['\0'], holes['\1'] = escaped(broken), escaped(written_id_of(broken))
    return fails, holes
  end
  holes['\0'] = escaped(nested or '[' .. table.concat(values, ', ') .. ']')
  return chord[5], holes
end
