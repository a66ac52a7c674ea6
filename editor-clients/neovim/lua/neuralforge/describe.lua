--- How things are put into one line: versions, stacks, bases, rows of the log. Pure functions.
local M = {}

local function percent(share)
  return ('%d %%'):format(math.floor(share * 100 + 0.5))
end

--- JSON's null arrives as `vim.NIL`.
local function known(value)
  return value ~= nil and value ~= vim.NIL
end

--- What the gate measured on held-out code.
local function measured(row)
  if not known(row.em) then
    return 'not measured'
  end
  local similar = known(row.es) and ', similar ' .. percent(row.es) or ''
  return 'exact ' .. percent(row.em) .. similar
end

--- `personal@v0002 ×0.50`
---@param entry { adapter: string, scale: number? }
---@return string
function M.entry(entry)
  local scale = entry.scale
  local shown = known(scale) and scale ~= 1 and (' ×%.2f'):format(scale) or ''
  return entry.adapter .. shown
end

---@param entries { adapter: string, scale: number? }[]
---@return string
function M.entries(entries)
  return #entries == 0 and 'no adapter' or table.concat(vim.tbl_map(M.entry, entries), ' + ')
end

--- A row of `neuralforge.adapter.list`: loaded or not, version, scale, base, metrics, day.
---@param row table
---@return string
function M.adapter(row)
  local loaded = known(row.scale)
  return table.concat({
    (loaded and '●' or '○') .. ' ' .. M.entry(row),
    'base ' .. row.base .. (row.fits and '' or ' (another one)'),
    measured(row),
    os.date('%Y-%m-%d', math.floor(row.created)),
  }, '  ')
end

--- A row of `neuralforge.stack.list`.
---@param row table
---@return string
function M.stack(row)
  local problem = row.fits and '' or '  ' .. row.problem
  local mark = row.in_force and '● ' or '○ '
  return ('%s%s  %s  base %s%s'):format(mark, row.name, M.entries(row.adapters), row.base, problem)
end

--- A row of `neuralforge.base.list`.
---@param row table
---@return string
function M.base(row)
  local licence = row.licence ~= '' and '  ' .. row.licence or ''
  local mark = row.state == 'in use' and '● ' or '○ '
  return ('%s%s  %d MB  %s%s'):format(mark, row.name, row.bytes / 1e6, row.state, licence)
end

--- A row of `neuralforge.log.show`.
---@param row table
---@return string
function M.suggestion(row)
  local text = vim.split(row.text, '\n', { plain = true })[1]
  return ('%s  %-13s  %s:%d  %s'):format(
    os.date('%m-%d %H:%M', math.floor(row.created)),
    known(row.outcome) and row.outcome or '–',
    vim.fs.basename(row.path),
    row.line + 1,
    text
  )
end

--- What the server tells in `neuralforge/status`, for a statusline.
---@param status table
---@return string
function M.status(status)
  local parts = { status.engine.base }
  if #status.stack > 0 then
    table.insert(parts, M.entries(status.stack))
  end
  table.insert(parts, M.learning(status.learning))
  if known(status.latency_ms) then
    table.insert(parts, status.latency_ms .. ' ms')
  end
  if known(status.acceptance) then
    table.insert(parts, percent(status.acceptance) .. ' accepted')
  end
  return table.concat(parts, ' · ')
end

--- What the trainer does.
---@param learning table
---@return string
function M.learning(learning)
  if not learning.enabled then
    return 'learning off'
  elseif learning.paused then
    return 'learning paused'
  elseif learning.running then
    return ('learning %d %%'):format(learning.percent)
  end
  return 'idle'
end

return M
