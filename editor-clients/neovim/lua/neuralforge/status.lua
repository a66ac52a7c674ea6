--- What goes on in the servers, as they tell it; for statuslines and `:NeuralForge status`.
local describe = require('neuralforge.describe')

local M = {}

---@type table<integer, table?> The newest `neuralforge/status` by client.
local told = {}
---@class neuralforge.Work
---@field title string
---@field percentage integer?
---@field client_id integer

---@type table<string|integer, neuralforge.Work> What is under way, by token.
local work = {}

---@type table<string, fun()?> What is called once when work ends, by the beginning of its title.
local awaited = {}

--- Whether work is echoed, because the user has asked for it.
local echoed = false

local function busy()
  local _, item = next(work)
  local share = item and item.percentage and (' %d %%'):format(item.percentage) or ''
  return item and item.title .. share
end

--- Call once, when the next work ends whose title begins so.
---@param beginning string
---@param go fun()
function M.when_ended(beginning, go)
  awaited[beginning] = go
end

local function ended(title)
  for beginning, go in pairs(awaited) do
    if vim.startswith(title, beginning) then
      awaited[beginning] = nil
      go()
    end
  end
end

--- A `$/progress` of the server.
---@param params { token: string|integer, value: table }
---@param client_id integer
function M.progress(params, client_id)
  local value, before = params.value, work[params.token] or {}
  local now = {
    title = value.title or before.title,
    percentage = value.percentage or before.percentage,
    client_id = client_id,
  }
  work[params.token] = value.kind ~= 'end' and now or nil
  if value.kind == 'end' and now.title then
    ended(now.title)
  end
  vim.cmd.redrawstatus()
  if echoed and busy() then
    vim.api.nvim_echo({ { 'NeuralForge: ' .. busy() } }, false, {})
  end
end

--- Echo the work that goes on until the returned function is called.
---@return fun()
function M.show_work()
  echoed = true
  return function()
    echoed = false
  end
end

--- Ask the servers to end the work whose title begins so.
---@param beginning string
---@return boolean whether there is any
function M.end_work(beginning)
  local found = false
  for token, item in pairs(work) do
    local client = vim.lsp.get_client_by_id(item.client_id)
    if client and vim.startswith(item.title, beginning) then
      found = client:notify('window/workDoneProgress/cancel', { token = token })
    end
  end
  return found
end

--- A `neuralforge/status` of the server.
function M.take(_, params, context)
  told[context.client_id] = params
  vim.cmd.redrawstatus()
end

--- A server has ended: nothing of it is on show any more.
---@param client_id integer
function M.forget(client_id)
  told[client_id] = nil
  work = {}
end

---@param bufnr integer?
---@return table? the newest `neuralforge/status` of the buffer's server
function M.of(bufnr)
  local client = require('neuralforge.client').get(bufnr)
  return client and told[client.id]
end

--- Base, stack, learning, last latency and acceptance; empty where no server runs.
---@return string
function M.line()
  local bufnr = vim.api.nvim_get_current_buf()
  local status = M.of(bufnr)
  if not status then
    return busy() or ''
  end
  local off = not require('neuralforge.toggle').is_on(bufnr) or not status.enabled
  local loading = status.engine.state ~= 'ready' and busy()
  return 'NF '
    .. (off and 'off · ' or '')
    .. (loading and loading .. ' · ' or '')
    .. describe.status(status)
end

return M
