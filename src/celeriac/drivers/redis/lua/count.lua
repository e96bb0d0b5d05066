-- Stands behind moves.lua where chords are counted: how their members are.
--
-- Below the key of the group:
-- .p  hash: n -> how many were counted, <n> -> a run of members, of which the last was the n-th; about -> the chord, for beat.lua
-- .b  the messages that come if it fails, as its producer or a member told them (JSON): for who counts and cannot say them
-- .o  is there while the producer of a header that is not whole may be sending the rest
-- .c  is there when the chord is through, for a while: who comes late begins no new count, unless a producer has told a size
--     since then: who chooses ids may send another chord under the same one
-- .s  how many members there are    .t  how many were added to them
-- Where a stock worker may be about, which counts some of the members or the last one, Celery's keys stand in the place of .p:
-- .j  sorted set of items by index, an item is '[1, "<task id>", "<state>", <value>]'
-- .d  set of "<task id>:<index>" that were counted
-- An entry in each of these costs more than all else that is done with a member, so .p has them as their workers packed them, and
-- is looked into when all seem to be there. CHORDS has the keys of all groups with a .p, so that a heartbeat can hand them over to
-- a stock worker that starts later.
-- A run is a msgpack array of stretches: {index of the first, ids joined by newlines, value, value ...} of members with one index
-- after the other that ended well, or {index, false, item} of one that did not (or of which it cannot be said so).
-- A chord is {its place among those of this turn, key of the group, size or 0 (then it is in .s), ttl in ms or 0, body, broken ...};
-- body and broken are messages whose payloads have holes (see message.py).
-- All of it is made when it is called for: to make so many functions costs every turn else, which mostly counts nothing.

local function counting()
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

  -- A stock producer saves which members are a group of their own, as {"result": [[id, parent], [nodes]]}: their values come as a
  -- list.
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
  local function keep(key, run, from, upto)
    if is_list(key) then
      for i = from + 1, upto, 2 do redis.call('RPUSH', key, run[i]) end
    else
      redis.call('ZADD', key, unpack(run, from, upto))
    end
  end

  local function kept(key)
    return is_list(key) and redis.call('LRANGE', key, 0, -1) or redis.call('ZRANGE', key, 0, -1)
  end

  local function how_many(key) return is_list(key) and redis.call('LLEN', key) or redis.call('ZCARD', key) end

  -- Of how many members a chord is through; nil: a stock producer is still sending, it tells the size before its last message.
  local function total_of(key, size)
    if size == 0 then size = tonumber(redis.call('GET', key .. '.s') or 0) end
    if size > 0 then return size + tonumber(redis.call('GET', key .. '.t') or 0) end
  end

  -- Whether a member has left its item.
  local function is_kept(key, id, index)
    for _, item in ipairs(is_list(key) and kept(key) or redis.call('ZRANGEBYSCORE', key, index, index)) do
      if id_of(item) == id then return true end
    end
    return false
  end

  -- Stretches as one list of index, item, index, item ...
  local function spelt_out(stretches)
    local all = {}
    for _, stretch in ipairs(stretches) do
      if stretch[2] then
        local i = 2
        for id in string.gmatch(stretch[2], '[^\n]+') do
          i = i + 1
          all[#all + 1] = stretch[1] + i - 3
          all[#all + 1] = '[1, "' .. id .. '", "SUCCESS", ' .. stretch[i] .. ']'
        end
      else
        all[#all + 1], all[#all + 2] = stretch[1], stretch[3]
      end
    end
    return all
  end

  -- Count these members in Celery's keys, each once whatever was counted before; returns how many are new.
  local function add(key, stretches)
    local new, run = 0, spelt_out(stretches)
    for from = 1, #run, 2000 do -- so many as Lua can spread as arguments
      local upto, ids, names = math.min(from + 1999, #run), {}, {}
      for i = from, upto, 2 do
        run[i] = string.format('%.0f', run[i])
        ids[#ids + 1] = id_of(run[i + 1])
        names[#names + 1] = ids[#ids] .. ':' .. run[i]
      end
      local added = redis.call('SADD', key .. '.d', unpack(names))
      if added == #names then
        keep(key .. '.j', run, from, upto)
      elseif added > 0 then
        -- Some were delivered twice, which is rare: only then it is worth finding out which.
        for i, id in ipairs(ids) do
          local at = from + 2 * i - 2
          if not is_kept(key .. '.j', id, run[at]) then keep(key .. '.j', run, at, at + 1) end
        end
      end
      new = new + added
    end
    return new
  end

  -- A stock worker may count members of a chord whose body goes to this queue: there are signs of one (see moves.lua), or it has.
  -- Or a stock producer has saved how the header is nested.
  local function is_shared(key, body)
    local queue = body[1] and body[1][1] or ''
    return redis.call('EXISTS', BINDINGS .. 'celery.pidbox', BINDINGS .. queue, key .. '.j', key) > 0
  end

  -- All stretches of .p, the first that came first.
  local function stretches_of(key)
    local flat, runs, all = redis.call('HGETALL', key .. '.p'), {}, {}
    for i = 1, #flat, 2 do
      local last = tonumber(flat[i])
      if last then runs[#runs + 1] = {last, flat[i + 1]} end
    end
    table.sort(runs, function(one, other) return one[1] < other[1] end)
    for _, run in ipairs(runs) do
      for _, stretch in ipairs(cmsgpack.unpack(run[2])) do all[#all + 1] = stretch end
    end
    return all
  end

  -- Stretches in the order of their indexes; and whether a member is there twice, or may be.
  local function in_order(stretches)
    local sorted, doubled = {}, false
    for i, stretch in ipairs(stretches) do sorted[i] = stretch end
    table.sort(sorted, function(one, other) return one[1] < other[1] end)
    for i = 2, #sorted do
      local before = sorted[i - 1]
      doubled = doubled or before[1] + #before - 2 > sorted[i][1]
    end
    return sorted, doubled
  end

  -- Each member once, the first that came.
  local function without_doubles(stretches)
    local known, left, run = {}, {}, spelt_out(stretches)
    for i = 1, #run, 2 do
      local name = id_of(run[i + 1]) .. ':' .. string.format('%.0f', run[i])
      if not known[name] then
        known[name] = true
        left[#left + 1] = {run[i], false, run[i + 1]}
      end
    end
    return left
  end

  -- From .p to Celery's keys.
  local function hand_over(key)
    local stretches, left = stretches_of(key), redis.call('PTTL', key .. '.p')
    redis.call('DEL', key .. '.p')
    redis.call('SREM', CHORDS, key)
    add(key, stretches)
    if left > 0 then
      redis.call('PEXPIRE', key .. '.d', left)
      redis.call('PEXPIRE', key .. '.j', left)
    end
  end

  -- The value of an item as JSON, nil if its task failed.
  local function value_of(item)
    local quote = end_of_id(item)
    if quote and string.find(item, '", "SUCCESS", ', quote, true) == quote then return string.sub(item, quote + 14, -2) end
  end

  -- Messages with their payloads, as those of a chord.
  local function with_places(messages)
    for _, message in ipairs(messages) do
      ARGV[#ARGV + 1] = message[4]
      message[4] = #ARGV
    end
    return messages
  end

  local function with_payloads(messages)
    local whole = {}
    for i, m in ipairs(messages) do whole[i] = {m[1], m[2], m[3], ARGV[m[4]], m[5]} end
    return whole
  end

  -- A stock producer does not say what comes if it fails, so it is kept as the first member says it that can be read.
  local function tell_of_broken(key, broken, ttl)
    redis.call('SET', key .. '.b', cjson.encode(with_payloads(broken)))
    if ttl > 0 then redis.call('PEXPIRE', key .. '.b', ttl) end
  end

  local function told_of_broken(key)
    local told = redis.call('GET', key .. '.b')
    return with_places(told and cjson.decode(told) or {})
  end

  local function forget(key)
    redis.call('UNLINK', key .. '.p', key .. '.j', key .. '.d', key .. '.s', key .. '.t', key .. '.b')
    redis.call('SREM', CHORDS, key)
  end

  -- The values of items as the text of a JSON array, or the first item without one.
  local function values_of(key, items)
    local values = {}
    for i, item in ipairs(items) do
      values[i] = value_of(item)
      if not values[i] then return nil, item end
    end
    local saved = redis.call('GET', key)
    return saved and in_their_groups(saved, items, values) or '[' .. table.concat(values, ', ') .. ']'
  end

  -- The same of stretches in order.
  local function values_packed(stretches)
    local texts = {}
    for i, stretch in ipairs(stretches) do
      texts[i] = stretch[2] and table.concat(stretch, ', ', 3) or value_of(stretch[3])
      if not texts[i] then return nil, stretch[3] end
    end
    return '[' .. table.concat(texts, ', ') .. ']'
  end

  -- All of a chord have ended: the messages that this sets off, and what to put in their holes. `last` is the id of the member that
  -- was counted last, `root` that of its root.
  local function ended(key, values, failed, body, broken, last, root)
    local fails = failed and (#broken > 0 and broken or told_of_broken(key))
    -- A stock producer tells nothing, and no member could be read: it ends with its keys.
    if failed and #fails == 0 then return {}, {} end
    redis.call('SET', key .. '.c', 'done', 'EX', THROUGH)
    forget(key)
    local holes = {['\2'] = escaped(last), ['\3'] = escaped(root)}
    if failed then
      holes['\0'], holes['\1'] = escaped(failed), escaped(written_id_of(failed))
      return fails, holes
    end
    holes['\0'] = escaped(values)
    return body, holes
  end

  -- Count a run of members in .p; returns as `values_of` when these are the last.
  local function count_packed(chord, packed, size, last, root)
    local key, total = chord[2], total_of(chord[2], chord[3])
    local part = key .. '.p'
    local counted = redis.call('HINCRBY', part, 'n', size)
    if total and counted >= total then
      local stretches = stretches_of(key)
      for _, stretch in ipairs(cmsgpack.unpack(packed)) do stretches[#stretches + 1] = stretch end
      local sorted, doubled = in_order(stretches)
      if not doubled then return values_packed(sorted) end
      stretches = without_doubles(stretches)
      if #stretches >= total then return values_packed((in_order(stretches))) end
      redis.call('DEL', part)
      counted, packed = #stretches, cmsgpack.pack(stretches)
      redis.call('HSET', part, 'n', counted)
    end
    redis.call('HSET', part, counted, packed)
    if #chord[5] > 0 and redis.call('HEXISTS', part, 'about') == 0 then
      local about = {chord[3], with_payloads(chord[5]), with_payloads(chord[6]), last, root}
      redis.call('HSET', part, 'about', cmsgpack.pack(about))
    end
    if counted == size then redis.call('SADD', CHORDS, key) end
    if chord[4] > 0 then redis.call('PEXPIRE', part, chord[4]) end
  end

  -- The same in Celery's keys.
  local function count_shared(chord, packed)
    local key, ttl = chord[2], chord[4]
    if redis.call('EXISTS', key .. '.p') == 1 then hand_over(key) end
    if #chord[6] > 0 and redis.call('EXISTS', key .. '.b') == 0 then tell_of_broken(key, chord[6], ttl) end
    if add(key, cmsgpack.unpack(packed)) == 0 then return end
    if ttl > 0 then
      redis.call('PEXPIRE', key .. '.d', ttl)
      redis.call('PEXPIRE', key .. '.j', ttl)
    end
    local total = total_of(key, chord[3])
    if total and how_many(key .. '.j') >= total then return values_of(key, kept(key .. '.j')) end
  end

  -- Count `size` members; returns the messages that the last of all sets off, and what to put in their holes. `last` is the id of
  -- the last of these, `root` that of its root.
  local function count(chord, packed, size, last, root)
    local key = chord[2]
    if size == 0 then return {}, {} end
    if redis.call('EXISTS', key .. '.c') == 1 then
      if redis.call('EXISTS', key .. '.s') == 0 then return {}, {} end
      redis.call('DEL', key .. '.c')
    end
    -- Nobody could read these: perhaps they stand in no chord.
    if chord[3] == 0 and #chord[6] == 0 and redis.call('EXISTS', key .. '.s') == 0 then return {}, {} end
    local values, failed
    if is_shared(key, chord[5]) then
      values, failed = count_shared(chord, packed)
    else
      values, failed = count_packed(chord, packed, size, last, root)
    end
    if not values and not failed then return {}, {} end
    return ended(key, values, failed, chord[5], chord[6], last, root)
  end

  -- Hand a chord over to a stock worker, if one came meanwhile; returns as `count`, for it may have counted the last member.
  local function share(key)
    local part = key .. '.p'
    if redis.call('EXISTS', part) == 0 then redis.call('SREM', CHORDS, key) end
    local packed = redis.call('HGET', part, 'about')
    local about = packed and cmsgpack.unpack(packed) or {0, {}, {}, '', ''}
    if not is_shared(key, about[2]) then return {}, {} end
    hand_over(key)
    local total = total_of(key, about[1])
    if not total or how_many(key .. '.j') < total or redis.call('EXISTS', key .. '.c') == 1 then return {}, {} end
    local values, failed = values_of(key, kept(key .. '.j'))
    return ended(key, values, failed, with_places(about[2]), with_places(about[3]), about[4], about[5])
  end

  return {
    count = count, escaped = escaped, fill = fill, forget = forget, share = share, told_of_broken = told_of_broken,
    THROUGH = THROUGH,
  }
end
