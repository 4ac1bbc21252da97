r"""What happens in one step on the server: Lua scripts, for Redis 6.2 and newer and for Valkey.

Keys of kombu: the lists of a queue (one per priority step), the hash ``unacked`` and the sorted set ``unacked_index``.
Ours begin with ``wk:1:``:

- ``owner:<nonce>`` exists as long as the lease of a consuming connection lasts; ``owners`` is the set of their nonces;
- ``held:<nonce>`` maps the tags of what it holds to the message's identity, ``<queue>\x06\x16<tag of the sender>``;
- ``attempts`` maps an identity to how many runs have come to nothing, where there were any;
- ``holders`` maps an identity to the process that has it in hand;
- ``delayed`` holds parked messages, ``<length of the list's key>:<key><message>``, scored by the time they are due.

The tag of a delivery is new with each delivery. Who removes the tag from ``unacked`` has the message; all others are
too late.
"""

from __future__ import annotations

import hashlib

import attrs


@attrs.frozen
class Script:
    """A script and the name under which the server knows it."""

    text: str
    """In Lua."""
    sha: str = attrs.field(init=False)
    """What EVALSHA takes."""

    @sha.default
    def _digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


NOW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
"""

FETCH = Script(
    NOW
    + """
-- Take messages, record each as held, and say how it stands.
-- KEYS: delayed, then the lists, most urgent first. These are the keys whose change is to wake the caller: depending on
--   its version, the server watches the KEYS of a script or what it reads; it reads no others, but for attempts, which
--   hardly ever change.
-- ARGV: nonce, lease, limit, prefix of tags, lists per priority, holder, key prefix, quarantine suffix,
--   unacked, unacked_index, held, owner, owners, attempts, holders, then the name of the queue of each list
local lease, limit, width = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local unacked, index, held, owner, owners, attempts, holders = unpack(ARGV, 9, 15)
local delayed, names = KEYS[1], 14 -- the queue of list KEYS[n] is ARGV[n + names]
local soonest = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
if soonest and tonumber(soonest) <= now then
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 100)
  for i = #due, 1, -1 do -- the one that is due first is taken first: it is pushed last
    local colon = string.find(due[i], ':', 1, true)
    local length = tonumber(string.sub(due[i], 1, colon - 1))
    redis.call('RPUSH', string.sub(due[i], colon + 1, colon + length), string.sub(due[i], colon + length + 1))
    redis.call('ZREM', delayed, due[i])
  end
  soonest = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
end

-- The tag of the sender, by which a message is known in every delivery; nil where there is none. kombu writes it like
-- this. Inside of a text there would be a backslash before each quote, so what is found once is a name, and its value.
local name, mark = '"delivery_tag"', '"delivery_tag": "'
local function tag_of(raw)
  local _, before = string.find(raw, mark, 1, true)
  if before and not string.find(raw, name, before, true) then
    local tag = string.match(raw, '^[^"\\\\%c]*"', before + 1)
    if tag then
      return string.sub(tag, 1, -2)
    end
  end
  local sound, message = pcall(cjson.decode, raw)
  if sound and type(message) == 'table' and type(message['properties']) == 'table' then
    local tag = message['properties']['delivery_tag']
    return type(tag) == 'string' and tag or nil
  end
end

-- What is recorded of those that are taken goes into each key with one command for all of them.
local expiry = string.format('%.3f', now + lease) -- not to be written anew for each, with all its digits
local taken, damaged, ends = {}, {}, {}
local values, scores, identities, processes, known = {}, {}, {}, {}, {}
local function take(position, raw)
  local queue, tag = ARGV[position + names], tag_of(raw)
  if not tag then
    redis.call('LPUSH', ARGV[7] .. queue .. ARGV[8], raw)
    damaged[#damaged + 1] = queue
    return
  end
  ends[position] = ends[position] or ', "", ' .. cjson.encode(queue) .. ']'
  local n, identity = #taken, queue .. '\\6\\22' .. tag
  local delivery, key, value = ARGV[4] .. tostring(n + 1), 2 * n + 1, 2 * n + 2
  values[key], values[value] = delivery, '[' .. raw .. ends[position]
  scores[key], scores[value] = expiry, delivery
  identities[key], identities[value] = delivery, identity
  processes[key], processes[value] = identity, ARGV[6]
  known[n + 1] = identity
  taken[n + 1] = {delivery, position - 2, raw, identity, 0}
end

-- Whether any list holds something, or the attempts of earlier runs are there, which they hardly ever are: one command
-- for all. What is popped is not read, and not watched, until it is asked about here.
local function any_left()
  local found = 0
  for position = 2, #KEYS, 1000 do
    local last = math.min(position + 999, #KEYS)
    found = found + redis.call('EXISTS', attempts, unpack(KEYS, position, last))
  end
  return found > 0
end

-- As kombu orders them: by priority, and within one each queue in its turn, until it is empty.
local first, looked_at, empty = 2, {}, {}
local left_over = true -- until it is known that there is nothing
while first <= #KEYS and #taken < limit do
  if first == 2 + width and not any_left() then -- mostly there is nothing of the other priorities
    left_over = false
    break
  end
  local live = {}
  for position = first, first + width - 1 do
    live[#live + 1] = position
  end
  while #live > 0 and #taken < limit and #damaged < 100 do
    -- What each can give without another one being passed over is popped at once, and taken in turns all the same.
    local left, found, room = {}, {}, limit - #taken
    local share = math.max(1, math.floor(room / #live))
    for _, position in ipairs(live) do
      found[position] = room > 0 and redis.call('RPOP', KEYS[position], share) or {}
      if room > 0 then
        looked_at[position], empty[position] = true, #found[position] < share
      end
      if not empty[position] then
        left[#left + 1] = position
      end
      room = room - #found[position]
    end
    for turn = 1, share do
      for _, position in ipairs(live) do
        local raw = found[position][turn]
        if raw then
          take(position, raw)
        end
      end
    end
    live = left
  end
  first = first + width
end

if #taken > 0 then
  redis.call('HSET', unacked, unpack(values))
  redis.call('ZADD', index, unpack(scores))
  redis.call('HSET', held, unpack(identities))
  redis.call('HSET', holders, unpack(processes))
  if not redis.call('SET', owner, ARGV[1], 'PX', math.ceil(lease * 1000), 'GET') then
    redis.call('SADD', owners, ARGV[1]) -- where it stays for as long as the other is there
  end
  if left_over and redis.call('EXISTS', attempts) == 1 then -- some message has been started before
    for number, count in ipairs(redis.call('HMGET', attempts, unpack(known))) do
      taken[number][5] = tonumber(count or 0)
    end
  end
end
-- Most lists, those of the other priorities, are empty: they are asked about with one command for many.
local waiting, others = 0, {}
local function look_at_others()
  local keys = {}
  for number, position in ipairs(others) do
    keys[number] = KEYS[position]
  end
  if #keys > 0 and redis.call('EXISTS', unpack(keys)) > 0 then
    for _, key in ipairs(keys) do
      waiting = waiting + redis.call('LLEN', key)
    end
  end
  others = {}
end
if left_over then
  for position = 2, #KEYS do
    if not looked_at[position] then
      others[#others + 1] = position
      if #others == 1000 then
        look_at_others()
      end
    elseif not empty[position] then
      waiting = waiting + redis.call('LLEN', KEYS[position])
    end
  end
  look_at_others()
  if waiting == 0 then
    any_left() -- so that all are watched
  end
end
return {taken, waiting, soonest and tostring(soonest - now) or '', damaged}
"""
)

SETTLE = Script("""
-- Remove messages for good; return the tags that came too late.
-- KEYS: unacked, unacked_index, held, attempts, holders   ARGV: tags, at most some thousand
local identities, late = {}, {}
for position, identity in ipairs(redis.call('HMGET', KEYS[3], unpack(ARGV))) do
  local tag = ARGV[position]
  if redis.call('HDEL', KEYS[1], tag) == 0 then
    late[#late + 1] = tag
  elseif identity then
    identities[#identities + 1] = identity
  end
end
redis.call('ZREM', KEYS[2], unpack(ARGV))
redis.call('HDEL', KEYS[3], unpack(ARGV))
if #identities > 0 then
  redis.call('HDEL', KEYS[4], unpack(identities))
  redis.call('HDEL', KEYS[5], unpack(identities))
end
return late
""")

MOVE = Script(
    NOW
    + """
-- Put what is held to where it can be taken again; return the tags that came too late.
-- KEYS: unacked, unacked_index, attempts, holders, delayed
-- ARGV: prefix of held, prefix of owner, then for each message: nonce of its holder, tag, what becomes of its attempts
--   (back: this one does not count; count: it does; keep: it does, as the holder is dead; drop: forget them all), key
--   of the list, where (next, last, or seconds to wait), message. A tag that comes again at once means a copy in
--   another list.
local late, last, moved = {}, nil, false

local function release(nonce, tag, attempts)
  if attempts == 'keep' and nonce ~= '' and redis.call('EXISTS', ARGV[2] .. nonce) == 1 then
    return false -- its holder has come back to life
  end
  local held = ARGV[1] .. nonce
  local identity = redis.call('HGET', held, tag)
  redis.call('HDEL', held, tag)
  if redis.call('HDEL', KEYS[1], tag) == 0 then
    return false
  end
  redis.call('ZREM', KEYS[2], tag)
  if identity then
    redis.call('HDEL', KEYS[4], identity)
    if attempts == 'drop' then
      redis.call('HDEL', KEYS[3], identity)
    elseif attempts ~= 'back' then
      redis.call('HINCRBY', KEYS[3], identity, 1)
    end
  end
  return true
end

for i = 3, #ARGV, 6 do
  local nonce, tag, attempts, list, where, message = unpack(ARGV, i, i + 5)
  if tag ~= last then
    last, moved = tag, release(nonce, tag, attempts)
    if not moved then
      late[#late + 1] = tag
    end
  end
  if moved then
    if where == 'next' then
      redis.call('RPUSH', list, message)
    elseif where == 'last' then
      redis.call('LPUSH', list, message)
    else
      local due = where == 'inf' and '+inf' or tostring(now + tonumber(where))
      redis.call('ZADD', KEYS[5], due, string.len(list) .. ':' .. list .. message)
    end
  end
end
return late
"""
)

RENEW = Script(
    NOW
    + """
-- Renew the lease of an owner and keep Celery's workers away from what it holds; return the tags that it still holds.
-- KEYS: unacked, unacked_index, held, owner, owners   ARGV: nonce, lease
local still = {}
redis.call('SET', KEYS[4], ARGV[1], 'PX', math.ceil(tonumber(ARGV[2]) * 1000))
redis.call('SADD', KEYS[5], ARGV[1])
for _, tag in ipairs(redis.call('HKEYS', KEYS[3])) do
  if redis.call('HEXISTS', KEYS[1], tag) == 1 then
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), tag)
    still[#still + 1] = tag
  else
    redis.call('HDEL', KEYS[3], tag)
  end
end
return still
"""
)

SURVEY = Script(
    NOW
    + """
-- Look for what nobody holds any more: of owners of ours whose lease has run out, and of anybody past the visibility
-- timeout. Return triples of nonce, tag, and the value in unacked.
-- KEYS: unacked, unacked_index, owners   ARGV: prefix of held, prefix of owner, visibility timeout, limit
local found, limit = {}, tonumber(ARGV[4])
for _, nonce in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  if #found < limit and redis.call('EXISTS', ARGV[2] .. nonce) == 0 then
    local held = ARGV[1] .. nonce
    for _, tag in ipairs(redis.call('HKEYS', held)) do
      if #found < limit then
        local value = redis.call('HGET', KEYS[1], tag)
        if value then
          found[#found + 1] = {nonce, tag, value}
        else
          redis.call('HDEL', held, tag)
        end
      end
    end
    if redis.call('HLEN', held) == 0 then
      redis.call('SREM', KEYS[3], nonce)
    end
  end
end
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[3]), 'LIMIT', 0, limit)
for _, tag in ipairs(old) do
  local value = redis.call('HGET', KEYS[1], tag)
  if value then
    found[#found + 1] = {'', tag, value}
  else
    redis.call('ZREM', KEYS[2], tag)
  end
end
return found
"""
)

LEAVE = Script("""
-- Forget an owner that holds nothing any more.   KEYS: held, owner, owners   ARGV: nonce
if redis.call('HLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('SREM', KEYS[3], ARGV[1])
end
return 1
""")

STORE = Script("""
-- Store a result, unless the message is in other hands or a SUCCESS is there; say which.
-- KEYS: result, holders   ARGV: meta, seconds it lasts (0: for ever), identity, holder (both empty: no matter)
if ARGV[3] ~= '' then
  local holder = redis.call('HGET', KEYS[2], ARGV[3])
  if holder and holder ~= ARGV[4] then
    return 'late'
  end
end
local before = redis.call('GET', KEYS[1])
if before then
  local sound, meta = pcall(cjson.decode, before)
  if sound and type(meta) == 'table' and meta['status'] == 'SUCCESS' then
    return 'kept'
  end
end
if tonumber(ARGV[2]) > 0 then
  redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 'stored'
""")
